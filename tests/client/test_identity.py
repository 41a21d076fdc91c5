"""The command line and the library of those who have a token, and of those who have none."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked
from tests._parts import running_server
from tests.client.commands import Done

from talweg.client import Client, NotFound, PermissionDenied
from talweg.client.cli._root import run

Call = Callable[..., Done]
# No broker: nothing here runs a job.
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guarded")


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """A server that asks for tokens."""
    files = {
        "TALWEG_AUTHENTICATION": "token",
        "TALWEG_TOKEN_KEY_FILE": str(folder / "key"),
        "TALWEG_ADMIN_TOKEN_FILE": str(folder / "admin"),
    }
    with running_server(folder / "server", NOWHERE, **files) as server:
        yield server.address


class MemoryKeyring(KeyringBackend):
    """A keyring that a test can look into, lock, and switch off."""

    priority = 5.0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}
        self.is_locked = False

    def set_password(self, service: str, username: str, password: str) -> None:
        self._open()
        self.held[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        self._open()
        return self.held.get((service, username))

    def delete_password(self, service: str, username: str) -> None:
        self._open()
        del self.held[service, username]

    def _open(self) -> None:
        if self.is_locked:
            raise KeyringLocked("the collection is locked")


@pytest.fixture(autouse=True)
def no_keyring() -> Iterator[None]:
    """No test writes into the keyring of who runs it."""
    before = keyring.get_keyring()
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call]
    yield
    keyring.set_keyring(before)


@pytest.fixture
def memory_keyring(no_keyring: None) -> MemoryKeyring:
    memory = MemoryKeyring()
    keyring.set_keyring(memory)
    return memory


@pytest.fixture
def call(
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Call:
    """Runs a command, in a home of its own, against the server."""
    for name in ("TALWEG_TOKEN", "TALWEG_TOKEN_FILE", "TALWEG_DATA", "TALWEG_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TALWEG_ADDRESS", address)

    def call(*arguments: str, token: str = "", stdin: str = "") -> Done:
        if token:
            monkeypatch.setenv("TALWEG_TOKEN", token)
        else:
            monkeypatch.delenv("TALWEG_TOKEN", raising=False)
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        status = run(arguments)
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return call


@pytest.fixture
def admin(folder: Path, address: str) -> str:
    return (folder / "admin").read_text().strip()


def test_without_a_token_it_says_what_to_do(call: Call) -> None:
    done = call("jobs")
    assert done.status == 5
    assert "asks for a token" in done.err
    assert "talweg login" in done.err


def test_a_token_from_its_creation_to_its_end(call: Call, admin: str) -> None:
    done = call(
        *("token", "create", "--role", "viewer", "--project", "vision", "--expires", "30d"),
        *("--description", "ann's laptop"),
        token=admin,
    )
    secret = done.out.strip()
    # Alone on standard output: a script can keep it.
    assert secret.startswith("talweg_")
    assert "\n" not in secret
    assert "viewer of project vision" in done.err
    listed = call("token", "list", token=admin).out
    assert "ann's laptop" in listed
    assert "until" in listed
    assert secret.split("_", 2)[2] not in listed
    assert json.loads(call("whoami", "--json", token=secret).out)["role"] == "VIEWER"
    done = call("token", "list", token=secret)
    assert done.status == 5
    assert "takes a token of role ADMIN" in done.err
    name = json.loads(call("whoami", "--json", token=secret).out)["token"]
    assert call("token", "revoke", name, token=admin).out == f"{name} is revoked\n"
    assert "was revoked" in call("jobs", token=secret).err
    assert name.removeprefix("tokens/") not in call("token", "list", token=admin).out
    assert "revoked" in call("token", "list", "--all", token=admin).out


def test_a_login_is_kept_for_its_owner_alone(
    call: Call, admin: str, address: str, tmp_path: Path
) -> None:
    done = call("login", address, stdin="wrong\n")
    assert done.status == 5
    assert not (tmp_path / "config").exists()
    assert call("login", address, stdin=f"{admin}\n").status == 0
    profile = tmp_path / "config/talweg/profile.json"
    assert profile.stat().st_mode & 0o777 == 0o600
    assert "admin in project default" in call("whoami").out
    assert call("jobs").status == 0
    wrong = tmp_path / "key.pem"
    wrong.write_text("-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(ValueError, match=r"key\.pem must hold the certificate of the CA in PEM"):
        Client(address, ca_file=wrong)
    # For this server alone: another one does not get it.
    with pytest.raises(Exception, match="no server answers"):
        Client("127.0.0.1:9").caller()
    assert call("logout").out == "forgotten\n"
    assert call("jobs").status == 5


def test_a_login_in_the_keyring(
    call: Call, admin: str, address: str, tmp_path: Path, memory_keyring: MemoryKeyring
) -> None:
    done = call("login", address, stdin=f"{admin}\n")
    assert (
        "The token is in the system's keyring (test identity MemoryKeyring), the rest in"
        in done.out
    )
    profile = tmp_path / "config/talweg/profile.json"
    assert admin not in profile.read_text()
    assert profile.stat().st_mode & 0o777 == 0o600
    assert memory_keyring.held == {("talweg", address): admin}
    assert "admin in project default" in call("whoami").out
    # One that asks for nothing when the environment has a token.
    memory_keyring.is_locked = True
    assert call("jobs", token=admin).status == 0
    done = call("jobs")
    assert done.status == 2
    assert "in the system's keyring, which cannot be read: the collection is locked" in done.err
    assert "--no-keyring keeps the token in a file" in done.err
    # Locked: a file holds it, and both are said.
    done = call("login", address, stdin=f"{admin}\n")
    assert "not in the system's keyring: test identity MemoryKeyring" in done.err
    assert "may still be in the system's keyring, which cannot be used: remove it" in done.err
    assert f"Kept in {profile}" in done.out
    assert call("jobs").status == 0
    memory_keyring.is_locked = False
    assert call("login", address, stdin=f"{admin}\n").status == 0
    assert admin not in profile.read_text()
    # The keyring keeps nothing that no profile leads to.
    assert call("login", address, "--no-keyring", stdin=f"{admin}\n").status == 0
    assert memory_keyring.held == {}
    assert call("login", address, stdin=f"{admin}\n").status == 0
    assert call("logout").out == "forgotten\n"
    assert memory_keyring.held == {}
    assert not profile.exists()
    assert call("jobs").status == 5


@pytest.mark.parametrize("backend", [null.Keyring, fail.Keyring])
def test_a_keyring_that_keeps_nothing_is_none(
    backend: type[KeyringBackend], call: Call, admin: str, address: str
) -> None:
    keyring.set_keyring(backend())
    done = call("login", address, stdin=f"{admin}\n")
    assert "Kept in " in done.out
    assert done.err == ""
    assert call("jobs").status == 0


def test_a_token_that_is_too_long_is_not_cut(call: Call, address: str) -> None:
    done = call("login", address, stdin="x" * 20_000)
    assert done.status == 2
    assert "at most 16,000 characters" in done.err


def test_quotas_and_the_audit_log(call: Call, admin: str) -> None:
    done = call("project", "set", "vision", "--open-jobs", "5", token=admin)
    assert "0 of 5" in done.out
    for bound in (2**63, 2**70):
        done = call("project", "set", "vision", "--open-jobs", str(bound), token=admin)
        assert done.status == 2
        assert "quotas.max_open_jobs: " in done.err
        assert str(bound) in done.err.replace(",", "")
    assert "0 of 5" in call("project", "list", token=admin).out
    entries: list[dict[str, str]] = []
    # The server refused one bound; the other could not even be sent.
    while len(entries) < 2:
        done = call("audit", "--json", "--since", "1h", token=admin)
        entries = [each for each in json.loads(done.out) if each["method"].endswith("ateProject")]
    assert [each["status"] for each in entries] == ["INVALID_ARGUMENT", "OK"]
    assert {each["resource"] for each in entries} == {"vision"}
    assert "UpdateProject" in call("audit", token=admin).out


def test_a_client_of_python(address: str, admin: str) -> None:
    with Client(address, token=admin, project="vision") as client:
        caller = client.caller()
        assert (caller.project, list(caller.projects)) == ("vision", ["*"])
        new = client.create_token("submitter", project="vision")
        assert new.secret not in repr(new)
        with Client(address, token=new.secret) as other:
            assert other.caller().project == "vision"
            with pytest.raises(PermissionDenied, match="role ADMIN"):
                other.tokens()
        assert client.revoke_token(new.token.name).HasField("revoke_time")
        with pytest.raises(NotFound, match="there is no token"):
            client.revoke_token("0" * 16)
        with pytest.raises(ValueError, match="role must be one of viewer, submitter"):
            client.create_token("root")


@pytest.mark.parametrize("name", ["TALWEG_TLS", "TALWEG_INSECURE"])
def test_a_flag_that_cannot_be_read_protects_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "on")
    with pytest.raises(ValueError, match=f"{name} must be 1 or 0, but got 'on'"):
        Client("127.0.0.1:9")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"token": "two words"}, "printable ASCII"),
        ({"project": "No Such"}, "lower-case letters"),
        ({"address": "talweg.example.org:7070"}, "without encryption"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    arguments: dict[str, str], said: str, admin: str
) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Client(**{"address": "127.0.0.1:9", "token": admin, **arguments})  # type: ignore[arg-type]
    assert admin not in str(caught.value)
