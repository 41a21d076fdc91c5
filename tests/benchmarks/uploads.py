"""The pace of an upload, against a raw socket whose other end digests and writes too.

Run with `make bench`, or alone: `python -m tests.benchmarks.uploads [MEGABYTES]`.
"""

import hashlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tests._parts import running_redis, running_server
from tests.benchmarks.table import Row, render

NUM_MEGABYTES = 1_000
NUM_ROUNDS = 3
PACE_GOAL = 0.6
MEMORY_GOAL_MB = 64
_PIECE = 1 << 20
_READY = b"+"

# The client runs in a process of its own, so that its memory can be read. It uploads a small file
# first: what it loads then is not the upload's.
_CLIENT = """
import json, sys, time
from talweg.client import Client

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

with Client(sys.argv[1]) as client:
    client.upload(sys.argv[2], name="small")
    before, marks = peak(), []
    started = time.perf_counter()
    client.upload(
        sys.argv[3], name="large", on_progress=lambda *_: marks.append(time.perf_counter())
    )
    total = time.perf_counter() - started
    grown = (peak() - before) / 1024
print(json.dumps({"sending": marks[-1] - marks[0], "total": total, "grown": grown}))
"""


def _receive(listener: socket.socket, path: Path) -> None:
    connection, _ = listener.accept()
    connection.sendall(_READY)
    digest, piece = hashlib.sha256(), memoryview(bytearray(_PIECE))
    with connection, path.open("wb") as file:
        while count := connection.recv_into(piece):
            file.write(piece[:count])
            digest.update(piece[:count])
        connection.sendall(digest.digest())


def raw_seconds(path: Path, copy: Path) -> float:
    """Return the seconds that a bare socket takes for a file, to the digest's arrival."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.uploads", "receive"]
            + [str(listener.fileno()), str(copy)],
            pass_fds=[listener.fileno()],
        )
        with (
            socket.create_connection(listener.getsockname()) as connection,
            path.open("rb") as file,
        ):
            assert connection.recv(1) == _READY
            started = time.perf_counter()
            while piece := file.read(_PIECE):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            assert len(connection.recv(32, socket.MSG_WAITALL)) == 32
            seconds = time.perf_counter() - started
        assert receiver.wait(60) == 0
    copy.unlink()
    return seconds


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "VmHWM" in line) / 1024


def _made(path: Path, num_bytes: int, seed: int) -> Path:
    values = np.random.default_rng(seed).integers(0, 256, (1000, num_bytes // 1000), np.uint8)
    save_file({"x": values, "y": np.arange(1000) % 2}, path)
    return path


def measure(num_megabytes: int = NUM_MEGABYTES) -> list[Row]:
    """Upload files, each by a raw socket too, in turn.

    Sending ends when gRPC has taken the last chunk; what it holds back is below 1 % of a gigabyte.
    """
    ratios, rates, totals, client_mb, server_mb = [], [], [], [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "redis").mkdir()
        limits = {
            "TALWEG_BLOBS": str(folder / "blobs"),
            "TALWEG_UPLOADS": str(folder / "uploads"),
        }
        with (
            running_redis(folder / "redis") as url,
            running_server(folder / "server", url, **limits) as server,
        ):
            assert server.process is not None
            for number in range(NUM_ROUNDS):
                small = _made(folder / "small.safetensors", 1_000_000, 100 + number)
                large = _made(folder / "large.safetensors", num_megabytes * 1_000_000, number)
                raw = raw_seconds(large, folder / "copy")
                before = _peak_mb(server.process.pid)
                command = [sys.executable, "-c", _CLIENT, server.address, str(small), str(large)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                figures = json.loads(done.stdout)
                ratios.append(raw / figures["sending"])
                rates.append(num_megabytes / figures["sending"])
                totals.append(figures["total"])
                client_mb.append(figures["grown"])
                server_mb.append(_peak_mb(server.process.pid) - before)
    ratio = statistics.median(ratios)
    memory = max(*client_mb, *server_mb)
    size = f"{num_megabytes:,} MB"
    return [
        Row(
            f"upload of {size}, pace relative to a raw socket",
            f"{ratio:.2f} [{min(ratios):.2f}, {max(ratios):.2f}]",
            goal=str(PACE_GOAL),
            met=ratio >= PACE_GOAL,
            remark=f"median of {NUM_ROUNDS}; {statistics.median(rates):.0f} MB/s; "
            f"{statistics.median(totals):.1f} s with digesting before and reading behind",
        ),
        Row(
            f"upload of {size}, growth of memory",
            f"{memory:.0f} MB",
            goal=f"{MEMORY_GOAL_MB} MB",
            met=memory < MEMORY_GOAL_MB,
            remark=f"peak; client {max(client_mb):.0f} MB, server {max(server_mb):.0f} MB",
        ),
    ]


if __name__ == "__main__":
    if sys.argv[1:2] == ["receive"]:
        with socket.socket(fileno=int(sys.argv[2])) as listener:
            _receive(listener, Path(sys.argv[3]))
    else:
        print(render(measure(int(sys.argv[1]) if len(sys.argv) > 1 else NUM_MEGABYTES)))
