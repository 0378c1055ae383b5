"""The doctor on hosts that are broken in one way each: it names the thing, and makes every other check."""

import contextlib
import http.server
import json
import os
import shutil
import socketserver
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from agent.cli.admin.doctor import command
from agent.cli.checks import Finding, Level
from agent.config_files import load
from agent.identity import authority
from agent.identity.authority import Authority
from agent.runtime import quadlet
from tests.support.git_repository import commit, git
from tests.support.ml_agent import Run, put_on_path

# The first subject that each check reports where nothing is known of the host.
CHECKS = {
    "systemd": {"systemd"},
    "user manager": {"user manager"},
    "linger": {"linger"},
    "journal": {"journal", "lost lines", "log retention"},
    "clock": {"clock"},
    "podman": {"podman"},
    "scripts": {"scripts"},
    "quadlet": {"quadlet"},
    "disk": {"disk"},
    "runtime directory": {"runtime directory"},
    "leftovers": {"leftovers"},
    "schedules": {"schedules"},
    "drain": {"drain"},
    "server certificate": {"authority", "server certificate"},
    "clients": {"clients"},
    "revocations": {"revocations"},
    "socket": {"socket"},
}
OF_HOST = ("systemd", "user manager", "linger", "journal")
Break = Callable[[Path, pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Broken:
    """What is broken, the subject that must name it, and words of that finding.

    `checks` are those that must be made.
    """

    harm: Break
    subject: str
    words: tuple[str, ...]
    level: str = "fail"
    checks: tuple[str, ...] = tuple(CHECKS)
    podman: tuple[int, str] | None = None  # the status and the body of each of its answers
    needs_account: bool = False  # root can read whatever its permissions are


def program(name: str, script: str) -> Break:
    """A program that does this instead."""

    def harm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        put_on_path(home / "bin", name, script, monkeypatch)

    return harm


def missing(name: str) -> Break:
    """A PATH with everything but one program."""

    def harm(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        links = home / "bin"
        links.mkdir()
        for directory in os.environ["PATH"].split(":"):
            for file in Path(directory).glob("*") if Path(directory).is_dir() else ():
                if file.name != name and not (links / file.name).exists():
                    (links / file.name).symlink_to(file)
        monkeypatch.setenv("PATH", str(links))

    return harm


def no_generator(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadlet, "GENERATORS", ())


def nothing(_: Path, __: pytest.MonkeyPatch) -> None:
    """All is well with the files."""


def close(path: Path) -> None:
    path.chmod(0)


@contextlib.contextmanager
def answering(socket: Path, status: int, body: str) -> Iterator[None]:
    """Podman's socket, on which every request has this answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.ThreadingUnixStreamServer(str(socket), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def repository(harm: Callable[[Path], None]) -> Break:
    """The repository of scripts after this."""
    return lambda home, _: harm(home / "repository")


def pki(harm: Callable[[Path], None]) -> Break:
    """The directory of keys and certificates after this."""
    return lambda home, _: harm(load().pki_directory)


def state(harm: Callable[[Path], None]) -> Break:
    """The state directory after this."""
    return lambda home, _: harm(load().state_directory)


def configuration(harm: Callable[[Path], None]) -> Break:
    """The configuration file after this."""
    return lambda home, _: harm(home / ".config/ml-agent/config.toml")


def replace_by_directory(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def lose_head(path: Path) -> None:
    (path / ".git/HEAD").unlink()


def lose_alternates(path: Path) -> None:
    other = path.with_name("other")
    shutil.move(path, other)
    git(path.parent, "clone", "--quiet", "--shared", str(other), str(path))
    shutil.rmtree(other)


def damage_index_of_packs(path: Path) -> None:
    git(path, "gc", "--quiet")
    (pack,) = (path / ".git/objects/pack").glob("*.pack")
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:40])


def damage_object(path: Path) -> None:
    oid = git(path, "rev-parse", "HEAD:scripts/hello.py")
    file = path / ".git/objects" / oid[:2] / oid[2:]
    file.chmod(0o644)
    file.write_bytes(b"damaged")


def unborn(path: Path) -> None:
    shutil.rmtree(path / ".git")
    git(path, "init", "--quiet")


def foreign_head(path: Path) -> None:
    git(path, "symbolic-ref", "HEAD", "refs/heads/gone")


def broken_config(path: Path) -> None:
    (path / ".git/config").write_text("[core\n")


def without_scripts(path: Path) -> None:
    git(path, "rm", "--quiet", "-r", "scripts")
    commit(path)


def put_server(path: Path, made: Authority) -> None:
    server = made.issue_server(["localhost"])
    (path / "server.crt").write_bytes(server.certificate_pem())
    (path / "server.key").write_bytes(server.key_pem())


def expire_server(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority, "SERVER_LIFETIME", timedelta(seconds=-10))
    put_server(load().pki_directory, Authority.load(load().pki_directory))


def expire_authority(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authority, "CA_LIFETIME", timedelta(days=20))
    directory = load().pki_directory
    shutil.rmtree(directory)
    directory.mkdir(0o700)
    put_server(directory, Authority.create(directory, "an authority that expires soon"))


def damage_database(path: Path) -> None:
    (path / "jobs.db").write_bytes(b"this is no database" * 1000)


def newer_database(path: Path) -> None:
    (path / "jobs.db").unlink(missing_ok=True)
    with sqlite3.connect(path / "jobs.db") as database:
        database.execute("PRAGMA user_version = 9999")
    database.close()


def state_is_a_file(path: Path) -> None:
    shutil.rmtree(path)
    path.write_text("")


HOSTS: dict[str, Broken] = {
    "systemctl is missing": Broken(missing("systemctl"), "user manager", ("does not answer",)),
    "git is missing": Broken(missing("git"), "scripts", ("git",)),
    "journalctl is missing": Broken(missing("journalctl"), "journal", ("cannot read",)),
    "systemd is old": Broken(program("systemctl", "echo 'systemd 249 (249.1)'"), "systemd", ("249",)),
    "the bus is dead": Broken(
        program("systemctl", "echo 'Failed to connect to bus' >&2; exit 1"),
        "user manager",
        ("does not answer",),
    ),
    "the manager stops": Broken(program("systemctl", "echo stopping"), "user manager", ("stopping",)),
    "no lingering": Broken(program("loginctl", "echo no"), "linger", ("last session ends",)),
    "the clock drifts": Broken(program("timedatectl", "echo no"), "clock", ("not synchronised",), "warn"),
    "podman's socket is dead": Broken(
        lambda home, _: (home / "run/podman/podman.sock").write_text(""), "podman", ("podman",)
    ),
    "podman's storage is damaged": Broken(
        nothing,
        "podman",
        ("open storage.lock",),
        podman=(500, '{"cause": "x", "message": "open storage.lock: permission denied", "response": 500}'),
    ),
    "podman answers nonsense": Broken(nothing, "podman", ("is not JSON",), podman=(200, "<html>")),
    "podman answers something else": Broken(nothing, "podman", ("is not Podman",), podman=(200, "{}")),
    "no quadlet": Broken(no_generator, "quadlet", ("Quadlet",)),
    "the repository is gone": Broken(repository(shutil.rmtree), "scripts", ("repository",)),
    "the repository is no repository": Broken(
        repository(lambda path: shutil.rmtree(path / ".git")), "scripts", ("repository",)
    ),
    "the repository has no HEAD": Broken(repository(lose_head), "scripts", ("repository",)),
    "the repository has no commit": Broken(repository(unborn), "scripts", ("commit",)),
    "the branch is gone": Broken(repository(foreign_head), "scripts", ("refs/heads/gone",)),
    "the alternates are gone": Broken(repository(lose_alternates), "scripts", ("damaged or incomplete",)),
    "a pack is cut short": Broken(repository(damage_index_of_packs), "scripts", ("damaged or incomplete",)),
    "an object is damaged": Broken(repository(damage_object), "scripts", ("damaged or incomplete",)),
    "git's configuration is malformed": Broken(repository(broken_config), "scripts", ("config",)),
    "the repository has no scripts": Broken(
        repository(without_scripts), "scripts", ("no directory scripts",)
    ),
    "the server certificate has expired": Broken(expire_server, "server certificate", ("valid until",)),
    "the server's key is gone": Broken(
        pki(lambda path: (path / "server.key").unlink()), "server certificate", ("server.key",)
    ),
    "the server certificate is garbage": Broken(
        pki(lambda path: (path / "server.crt").write_text("garbage")), "server certificate", ("server.crt",)
    ),
    "the authority expires": Broken(expire_authority, "authority", ("valid until",), "warn"),
    "the authority's key is a directory": Broken(
        pki(lambda path: replace_by_directory(path / "ca.key")), "authority", ("ca.key",)
    ),
    "there are no certificates": Broken(pki(shutil.rmtree), "authority", ("ca.crt",)),
    "the database is damaged": Broken(state(damage_database), "clients", ("jobs.db",)),
    "the database is newer": Broken(state(newer_database), "clients", ("newer",)),
    "the state directory is a file": Broken(state(state_is_a_file), "authority", ("ca.crt",)),
    "the state directory is unreadable": Broken(
        state(close), "authority", ("Permission denied",), needs_account=True
    ),
    "the repository is unreadable": Broken(repository(close), "scripts", ("repository",), needs_account=True),
    "the server's key is unreadable": Broken(
        pki(lambda path: close(path / "server.key")),
        "server certificate",
        ("server.key",),
        needs_account=True,
    ),
    "the configuration is unreadable": Broken(
        configuration(close), "configuration", ("config.toml",), checks=OF_HOST, needs_account=True
    ),
    "the configuration is gone": Broken(
        configuration(Path.unlink), "configuration", ("ml-agent init",), checks=OF_HOST
    ),
    "the configuration is malformed": Broken(
        configuration(lambda path: path.write_text("[scripts\n")),
        "configuration",
        ("config.toml",),
        checks=OF_HOST,
    ),
    "the configuration is a directory": Broken(
        configuration(replace_by_directory), "configuration", ("config.toml",), checks=OF_HOST
    ),
    "the configuration has an unknown key": Broken(
        configuration(lambda path: path.write_text(path.read_text() + "\n[jobs]\nmax_runing = 3\n")),
        "configuration",
        ("max_runing",),
        checks=OF_HOST,
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_broken_host_is_named_and_every_other_check_is_made(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    broken = HOSTS[name]
    if broken.needs_account and os.geteuid() == 0:
        pytest.skip("root can read it; the disposable host has an account for it")
    socket = home / "run/podman/podman.sock"
    socket.parent.mkdir(parents=True)
    broken.harm(home, monkeypatch)
    with answering(socket, *broken.podman) if broken.podman else contextlib.nullcontext():
        examined = ready("doctor", "--json")
    findings = json.loads(examined.out)
    subjects = {each["subject"] for each in findings}
    named = [each for each in findings if each["subject"] == broken.subject and each["level"] == broken.level]
    assert named, findings
    said = f"{named[0]['seen']} {named[0]['remedy']}"
    assert all(word in said for word in broken.words), said
    assert "Report this" not in said
    for check in broken.checks:
        assert CHECKS[check] & subjects, f"no finding of {check}: {subjects}"
    assert all(each["seen"] and bool(each["remedy"]) == (each["level"] != "ok") for each in findings)
    assert examined.status == (1 if any(each["level"] == "fail" for each in findings) else 0)
    assert examined.err == ""


def test_a_person_is_told_of_a_broken_host_without_a_traceback(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("git is missing", "the server's key is gone", "the database is damaged"):
        HOSTS[name].harm(home, monkeypatch)
    shown = ready("doctor")
    assert shown.status == 1
    assert "fail  server certificate" in shown.out
    assert "Traceback" not in shown.out + shown.err
    assert "Report this" not in shown.out


def test_the_table_of_checks_is_complete(ready: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    async def noted(subject: str, _: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
        made.append(subject)
        yield Finding(subject, Level.OK, "noted")

    monkeypatch.setattr(command, "guarded", noted)
    assert ready("doctor").status == 0
    assert sorted(made) == sorted(CHECKS)
