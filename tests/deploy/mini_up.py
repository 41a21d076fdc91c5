"""Starts a service with a child under a guardian, prints their process ids, and waits."""

import subprocess
import sys
import time
from pathlib import Path

from tests.deploy.plans import WITH_CHILD

from talweg.deploy.supervision.processes import Guardian


def main(folder: Path) -> None:
    with Guardian() as guardian, (folder / "log").open("ab") as log:
        ready = folder / "ready"
        command = [sys.executable, "-c", WITH_CHILD, str(ready)]
        service = guardian.start(command, env={}, cwd=folder, log=log)
        assert isinstance(service, subprocess.Popen)
        while not ready.exists():
            time.sleep(0.01)
        print(service.pid, Path(f"{ready}.child").read_text(), flush=True)
        while True:
            guardian.watch()
            time.sleep(0.01)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
