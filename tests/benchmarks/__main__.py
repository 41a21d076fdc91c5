"""All benchmarks: prints the table and writes it, with the machine's facts, to RESULTS.md."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

from tests.benchmarks import (
    by_lightning,
    costs,
    delivered,
    load,
    loop,
    losses,
    opening,
    replay,
    service,
    spikes,
    sweeps,
    uploads,
    watching,
)
from tests.benchmarks.table import render

OUTPUT = Path(__file__).with_name("RESULTS.md")


def main() -> None:
    """Measure, print and writes."""
    machine = (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {version('torch')}"
    )
    table = render(
        [
            *loop.measure(),
            *watching.measure(),
            *by_lightning.measure(),
            *delivered.measure(),
            *losses.measure(),
            *spikes.measure(),
            *replay.measure(),
            *costs.measure(),
            *service.measure(),
            *load.measure(),
            *sweeps.measure(),
            *uploads.measure(),
            *opening.measure(),
        ]
    )
    text = f"# Speed\n\nWritten by `make bench`: {machine}.\n\n{table}\n"
    print(text)
    OUTPUT.write_text(text)
    print(f"written to {OUTPUT}")


if __name__ == "__main__":
    main()
