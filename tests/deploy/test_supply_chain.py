"""What is installed has a hash that is pinned; what is pinned is listed and looked up."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path

import pytest
from cyclonedx.model.bom import Bom
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests._parts import free_port
from tests.deploy.dockerfiles import ROOT, link_packages

import audit
from requirements import pin_of, pins, requirements_of

PROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"
[project]
name = "talweg"
version = "1"
dependencies = ["tiny"]
optional-dependencies = {all = []}
[tool.hatch.build.targets.wheel]
bypass-selection = true
"""


def write_wheel(folder: Path, content: str) -> str:
    """Write the package `tiny`, and return its SHA-256."""
    wheel = folder / "tiny-1.0-py3-none-any.whl"
    files = {
        "tiny.py": content,
        "METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            # Of a fixed time, so that the same content has the same hash.
            path = name if name == "tiny.py" else f"tiny-1.0.dist-info/{name}"
            archive.writestr(zipfile.ZipInfo(path), text)
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


def test_the_installer_refuses_a_package_that_was_changed(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    for name in ("install.sh", "requirements.py", "pip_progress.py", "other_builds.sha256"):
        shutil.copy(ROOT / "deploy" / name, tmp_path / "deploy")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    digest = write_wheel(tmp_path, "good = True")
    (tmp_path / "constraints.txt").write_text(
        f"{pin_of('pip')}\ntiny==1.0 \\\n    --hash=sha256:{digest}\n"
    )
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    link_packages(("pip", "hatchling", "editables"), venv)
    env = os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONSTRAINT": ""}

    def install() -> subprocess.CompletedProcess[str]:
        command = ["sh", "deploy/install.sh", str(venv), "all"]
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)

    write_wheel(tmp_path, "good = False")
    done = install()
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not list(venv.glob("lib/*/site-packages/tiny.py"))
    write_wheel(tmp_path, "good = True")
    done = install()
    assert done.returncode == 0, done.stderr
    (tiny,) = venv.glob("lib/*/site-packages/tiny.py")
    assert tiny.read_text() == "good = True"


def test_extras_need_what_the_package_says() -> None:
    """pip is asked for these, and not for the package, whose folder has no hash."""

    def declared(extra: str) -> set[str]:
        names: set[str] = set()
        for text in metadata.requires("talweg") or ():
            each = Requirement(text)
            if each.marker is None or each.marker.evaluate({"extra": extra}):
                nested = [declared(name) for name in each.extras] if each.name == "talweg" else []
                names |= set().union(*nested) if nested else {canonicalize_name(each.name)}
        return names

    extras = metadata.metadata("talweg").get_all("Provides-Extra") or []
    assert {"all", "dev", "server", "worker"} <= set(extras)
    for extra in extras:
        asked = {canonicalize_name(Requirement(text).name) for text in requirements_of([extra])}
        assert asked == declared(extra) | {"hatchling"}
    with pytest.raises(ValueError, match="no extra 'workers', but all, dev"):
        requirements_of(["workers"])


def test_torch_has_the_hashes_of_both_builds() -> None:
    other = (ROOT / "deploy/other_builds.sha256").read_text().split()[0::2]
    version, hashes = pins()["torch"]
    assert set(other) < hashes
    # What the CUDA build needs besides is pinned too, though it is not installed here.
    assert {"triton", "nvidia-cublas", "nvidia-nccl-cu13"} <= pins().keys()
    assert version == metadata.version("torch").partition("+")[0]


def test_the_bill_of_materials_is_cyclonedx() -> None:
    document = audit.bill_of_materials()
    bom = Bom.from_json(document)  # type: ignore[attr-defined]
    assert {(each.name, each.version) for each in bom.components} == {
        (name, version) for name, (version, _) in pins().items()
    }
    torch = next(each for each in document["components"] if each["name"] == "torch")
    assert torch["purl"] == f"pkg:pypi/torch@{pins()['torch'][0]}"
    assert {each["content"] for each in torch["externalReferences"][0]["hashes"]} == set(
        pins()["torch"][1]
    )
    assert audit.bill_of_materials() == document


class Osv(BaseHTTPRequestHandler):
    """A vulnerability service that knows of a fault in `tiny` before 1.1."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        releases = {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}
        fault = {
            "id": "PYSEC-2026-1",
            "modified": "2026-01-01T00:00:00Z",
            "summary": "bad",
            "aliases": [],
            "affected": [{"package": {"name": "tiny", "ecosystem": "PyPI"}, "ranges": [releases]}],
        }
        has_fault = asked["package"]["name"] == "tiny" and asked["version"] == "1.0"
        body = json.dumps({"vulns": [fault]} if has_fault else {}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.faults
def test_known_vulnerabilities_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few: dict[str, tuple[str, frozenset[str]]] = {}
    monkeypatch.setattr(audit, "pins", lambda: few)
    few |= {"sound": ("2.0", frozenset()), "tiny": ("1.0", frozenset())}
    with osv() as url:
        service = ["--vulnerability-service", "osv", "--osv-url", url]
        assert audit.look_up(service) == audit.VULNERABLE
        assert "tiny 1.0: PYSEC-2026-1, mended in 1.1" in capsys.readouterr().out
        del few["tiny"]
        assert audit.look_up(service) == audit.CLEAN
        assert "1 of 1 pins were looked up; 0 are vulnerable" in capsys.readouterr().out
    nobody = ["--vulnerability-service", "osv", "--osv-url", f"http://127.0.0.1:{free_port()}"]
    assert audit.look_up(nobody) == audit.UNKNOWN
    assert "None of the 1 pins was looked up" in capsys.readouterr().out
