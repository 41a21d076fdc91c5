"""Code that a job should not have brought along: each attack is a loss of its own name."""

ATTACKS = """
import ctypes, glob, json, os, re, signal, socket, subprocess, sys, time
from pathlib import Path


def make(parameters):
    attack = globals()[parameters.pop("attack")]
    found = attack(**parameters)
    if found is not None:
        # By an error the test learns of it.
        raise ValueError(json.dumps(found))
    return lambda inputs: (inputs["pred"] - inputs["target"]).square()


def nothing():
    return None


def tried(what):
    try:
        return str(what())
    except Exception as exc:
        return type(exc).__name__


def environment(other):
    places = ["/proc/self/environ", f"/proc/{other}/environ", *glob.glob("/proc/[0-9]*/environ")]
    read = [tried(lambda: Path(place).read_bytes()) for place in places]
    return {"own": dict(os.environ), "read": read}


def memory():
    secret, found = re.compile(b"very-secre[t]-[0-9]{8}"), 0
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as content:
        for line in maps:
            first, _, last = line.split()[0].partition("-")
            start, end = int(first, 16), int(last, 16)
            if " r" not in line or start >= 2**47:
                continue
            try:
                content.seek(start)
                found += len(secret.findall(content.read(end - start)))
            except OSError:
                continue
    return found


def files(places, folders):
    return {
        "read": [tried(lambda: Path(place).read_text()) for place in places],
        "listed": [tried(lambda: os.listdir(folder)) for folder in folders],
        "written": [tried(lambda: (Path(folder) / "mine").write_text("x")) for folder in folders],
        "home": tried(lambda: (Path.home() / "mine").write_text("x")),
    }


def connections(port, abstract):
    def connect():
        socket.create_connection(("127.0.0.1", port), timeout=5)
        return "connected"

    def send():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"out", ("127.0.0.1", port))
        return "sent"

    def call():
        with socket.socket(socket.AF_UNIX) as unix:
            unix.connect("\\0" + abstract)
        return "connected"

    return [tried(connect), tried(send), tried(call)]


def kill(others):
    return [tried(lambda: os.kill(other, signal.SIGTERM)) for other in others]


def forks(count, seconds, size):
    for _ in range(count):
        if os.fork() == 0:
            hoard = bytearray(os.urandom(1) * size)
            time.sleep(seconds)
            os._exit(0)
    time.sleep(seconds)


def daemon(seconds):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(seconds)
        os._exit(0)


def hoard(size):
    return len(b"x" * size)


def fill(size, count):
    for number in range(count):
        (Path.home() / str(number)).write_bytes(b"x" * size)
    time.sleep(60)


def junk():
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            socket.socket(fileno=os.dup(descriptor)).sendall(b"\\x05\\0\\0\\0junk!")
        except OSError:
            continue
    time.sleep(60)


def links(target):
    exchange = Path.home().parent / "exchange"
    weights = exchange / "weights.safetensors"

    def write(*_):
        os.symlink(target, weights)

    sys.modules["talweg.worker.sandbox.inside"]._Worker._keep = write


def die():
    os.kill(os.getpid(), signal.SIGSEGV)
"""
