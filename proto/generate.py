"""Writes the code and the documentation that follow from the .proto files.

    python proto/generate.py            write
    python proto/generate.py --check    name stale files; exit status 1 if there are any

Beside the .proto files: messages (``*_pb2.py``), services (``*_pb2_grpc.py``), their types
(``*.pyi``) and ``descriptors.binpb``, the descriptors with the comments, which Python's generated
code leaves out. And ``docs/catalogue.md``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import status_pb2

PROTO = Path(__file__).resolve().parent
PACKAGE = Path("talweg/v1")
DESCRIPTORS = PACKAGE / "descriptors.binpb"
DOCUMENT = PROTO.parent / "docs" / "catalogue.md"
# The types of google.rpc lie beside their generated code.
_SITE_PACKAGES = Path(status_pb2.__file__).parents[2]


def generate(target: Path) -> None:
    """Write everything that follows from the .proto files below a folder."""
    sources = sorted(str(path.relative_to(PROTO)) for path in (PROTO / PACKAGE).glob("*.proto"))
    complete = target / "complete.binpb"
    # protoc looks for the plug-ins on PATH; they lie beside the Python that runs this.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc"),
            *(f"-I{PROTO}", f"-I{_SITE_PACKAGES}"),
            *(f"--python_out={target}", f"--grpc_python_out={target}"),
            *(f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet:{target}"),
            *(f"--descriptor_set_out={complete}", "--include_imports", "--include_source_info"),
            *sources,
        ],
        check=True,
        cwd=PROTO,
        env={**os.environ, "PATH": path},
    )
    files = FileDescriptorSet.FromString(complete.read_bytes())
    complete.unlink()
    _drop_empty_services(files, target)
    _keep_comments(files)
    (target / DESCRIPTORS).write_bytes(files.SerializeToString(deterministic=True))


def _drop_empty_services(files: FileDescriptorSet, target: Path) -> None:
    for file in files.file:
        if not file.service:
            for path in target.glob(file.name.removesuffix(".proto") + "_pb2_grpc.py*"):
                path.unlink()


def _keep_comments(files: FileDescriptorSet) -> None:
    """Leave of the source info what is read from it: the comments, and those of our own alone."""
    for file in files.file:
        info = file.source_code_info
        commented = [place for place in info.location if place.leading_comments]
        info.ClearField("location")
        if not file.name.startswith(str(PACKAGE)):
            file.ClearField("source_code_info")
            continue
        for place in commented:
            info.location.add(path=place.path, leading_comments=place.leading_comments)


def generated(root: Path) -> dict[Path, bytes]:
    """Give the generated files below a folder, by their path."""
    patterns = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", DESCRIPTORS.name)
    return {
        path.relative_to(root): path.read_bytes()
        for pattern in patterns
        for path in sorted((root / PACKAGE).glob(pattern))
    }


def differences(fresh: dict[Path, bytes], present: dict[Path, bytes]) -> list[str]:
    """Name the files that are missing, stale or left over, and say which."""
    lines = []
    for path in sorted(fresh.keys() | present.keys()):
        if path not in present:
            lines.append(f"missing    {path}")
        elif path not in fresh:
            lines.append(f"left over  {path}")
        elif fresh[path] != present[path]:
            lines.append(f"stale      {path}")
    return lines


def document() -> bytes:
    """Render the catalogue's page, in a process that reads the code as it lies here now."""
    return subprocess.run(
        [sys.executable, "-m", "talweg.spec.catalogue.markdown"],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout


def main(arguments: list[str] | None = None) -> int:
    """Write or check; give the exit status."""
    parser = argparse.ArgumentParser(description="Write what follows from the .proto files.")
    parser.add_argument("--check", action="store_true", help="change nothing, name stale files")
    check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = generated(Path(folder))
    present = generated(PROTO)
    stale = differences(fresh, present)
    if not check:
        for path in present.keys() - fresh.keys():
            (PROTO / path).unlink()
        for path, content in fresh.items():
            if present.get(path) != content:
                (PROTO / path).write_bytes(content)
    page = document()
    if not DOCUMENT.exists() or DOCUMENT.read_bytes() != page:
        stale.append(f"stale      {DOCUMENT.relative_to(PROTO.parent)}")
        if not check:
            DOCUMENT.parent.mkdir(exist_ok=True)
            DOCUMENT.write_bytes(page)
    for line in stale:
        print(line if check else f"was {line}")
    if check and stale:
        print("Run `make proto`, and commit what it writes.")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
