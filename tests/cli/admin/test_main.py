"""`ml-agent`: what it makes, what it refuses, what it would place, and what the doctor says."""

import asyncio
import errno
import json
import os
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent import __version__
from agent.cli import failure, secret_value
from agent.cli.admin import doctor, findings, install, main
from agent.config import load, shipped
from agent.errors import AgentError, Problem
from agent.host.podman import Secret
from agent.identity import authority as authority_module
from agent.identity import tls
from agent.model.base import new_job_id, now, unit_name
from agent.model.certificate import Certificate, Role
from agent.model.inputs import Limits
from agent.model.job import Job, JobState
from agent.model.script import Script
from agent.model.secret import SecretChange
from agent.runtime.quadlet import TEMPLATE
from agent.store.certificates import CertificateStore
from agent.store.store import Store
from tests.support.git_repository import commit

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An account of its own, with a git repository of scripts in ~/repository."""
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "ML_AGENT_CONFIG", "SUDO_USER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    scripts = tmp_path / "repository/scripts"
    scripts.mkdir(parents=True)
    (scripts / "hello.py").write_text("print('hello')\n")
    git = ["git", "-C", str(scripts), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Say hello"]):
        subprocess.run([*git, *command], check=True)
    subprocess.run(["mv", str(scripts / ".git"), str(scripts.parent)], check=True)
    return tmp_path


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ml-agent` with arguments: its `status`, and what it wrote to `out` and `err`."""

    def run(*arguments: str) -> SimpleNamespace:
        monkeypatch.setattr(sys, "argv", ["ml-agent", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        output = capsys.readouterr()
        return SimpleNamespace(status=ended.value.code or 0, out=output.out, err=output.err)

    return run


@pytest.fixture
def ready(run: Run, home: Path) -> Run:
    """The same, after `ml-agent init`."""
    assert run("init", "--scripts", str(home / "repository"), "--san", "ml.example.org").status == 0
    return run


def test_init_makes_configuration_authority_and_server_certificate(ready: Run, home: Path) -> None:
    settings = load()
    assert settings.scripts.repository == home / "repository"
    assert stat.S_IMODE(settings.state_directory.stat().st_mode) == 0o700
    names = authority_module.server_names(
        authority_module.certificates(settings.pki_directory / "server.crt")[0]
    )
    assert names[0] == "ml.example.org"
    assert {"localhost", "127.0.0.1", "::1"} < set(names)
    assert tls.server_context(settings.pki_directory).verify_mode is ssl.CERT_REQUIRED


def test_init_again_changes_nothing_and_says_so(ready: Run) -> None:
    directory = load().pki_directory
    before = {path: path.read_bytes() for path in directory.iterdir()}
    again = ready("init")
    assert [line.split()[0] for line in again.out.splitlines()] == ["kept"] * 3
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


def test_init_with_a_further_name_renews_the_server_certificate_alone(ready: Run) -> None:
    directory = load().pki_directory
    authority = (directory / "ca.crt").read_bytes()
    assert ready("init", "--san", "2001:DB8:0::7").out.count("made") == 1
    assert (directory / "ca.crt").read_bytes() == authority
    assert "2001:db8::7" in authority_module.server_names(
        authority_module.certificates(directory / "server.crt")[0]
    )
    assert ready("init", "--san", "2001:DB8:0::7").out.count("made") == 0


def test_init_without_a_repository_names_the_option(run: Run) -> None:
    refused = run("init")
    assert refused.status == main.EXIT_CONFIGURATION
    assert "--scripts" in refused.err


def test_init_refuses_a_directory_that_is_no_repository(run: Run, home: Path) -> None:
    assert "cannot be read" in run("init", "--scripts", str(home)).err
    assert not (home / ".config").exists()


def test_init_does_not_overrule_the_configuration(ready: Run) -> None:
    refused = ready("init", "--port", "9000")
    assert refused.status == main.EXIT_CONFIGURATION
    assert "http.port is configured as 8443, not 9000" in refused.err


def test_issue_hands_over_four_files_and_a_password_and_records_the_certificate(
    ready: Run, home: Path
) -> None:
    issued = ready("issue", "alice", "--admin", "--days", "7", "--output", str(home / "ids"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / "ids").iterdir()}
    assert modes == {"ca.crt": 0o644, "alice.crt": 0o644, "alice.key": 0o600, "alice.p12": 0o600}
    password = issued.out.strip().rsplit(" ", 1)[1]
    assert (home / "ids/alice.p12").read_bytes()
    assert len(password) == 23
    certificate = authority_module.certificates(home / "ids/alice.crt")[0]
    recorded = asyncio.run(_recorded(f"{certificate.serial_number:x}"))
    assert recorded is not None
    assert (recorded.user, recorded.role) == ("alice", Role.ADMINISTRATOR)
    assert recorded.expires_at == certificate.not_valid_after_utc


async def _recorded(serial: str) -> Certificate | None:
    async with Store.open(load().database) as store:
        return await store.certificates.get(serial)


def test_issue_overwrites_a_key_only_when_asked(ready: Run, home: Path) -> None:
    where = ("--output", str(home))
    ready("issue", "alice", *where)
    key = (home / "alice.key").read_bytes()
    assert "alice.crt exists" in ready("issue", "alice", *where).err
    assert (home / "alice.key").read_bytes() == key
    assert ready("issue", "alice", "--replace", *where).status == 0
    assert (home / "alice.key").read_bytes() != key


def test_issue_does_not_mix_two_hosts_authorities(ready: Run, home: Path) -> None:
    (home / "ca.crt").write_text("another")
    assert "another authority" in ready("issue", "alice", "--output", str(home)).err
    assert not (home / "alice.key").exists()


def test_issue_records_nothing_that_it_cannot_hand_over(ready: Run, home: Path) -> None:
    (home / "file").write_text("")
    (home / "ids/alice.key").mkdir(parents=True)
    for where, why in (
        (home / "file", "file: Not a directory"),
        (home / "file/ids", "ids: Not a directory"),
        (Path("/proc/nope"), "/proc/nope: No such file"),
        (home / "ids", "alice.key is a directory"),
    ):
        refused = ready("issue", "alice", "--replace", "--output", str(where))
        assert refused.status == main.EXIT_CONFIGURATION
        assert why in refused.err
    assert json.loads(ready("list", "--json").out) == []


def test_an_issue_that_fails_half_way_leaves_the_files_that_were_there(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("--output", str(home / "ids"))

    def files() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (home / "ids").iterdir()}

    async def full(*_: object, **__: object) -> None:
        raise AgentError(Problem.STORAGE_FULL, "The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(CertificateStore, "add", full)
        assert ready("issue", "alice", *where).status == 1
    assert files() == {}
    assert ready("issue", "alice", *where).status == 0
    before = files()
    with monkeypatch.context() as patch:
        patch.setattr(CertificateStore, "add", full)
        assert ready("issue", "alice", "--replace", *where).status == 1
    assert files() == before


def test_no_user_is_called_as_the_authority_is(ready: Run, home: Path) -> None:
    refused = ready("issue", "ca", "--replace", "--output", str(home / "ids"))
    assert refused.status == main.EXIT_CONFIGURATION
    assert "user ca would be ca.crt" in refused.err
    assert not (home / "ids").exists()
    assert ready("issue", "server", "--output", str(home / "ids")).status == 0


@pytest.mark.parametrize("user", ["Alice", "../alice", "", "a b", "-a", "a" * 64])
def test_issue_takes_no_name_that_is_not_a_users(ready: Run, user: str) -> None:
    assert ready("issue", "--", user).status == 2


def test_a_missing_configuration_is_told_with_its_status(run: Run) -> None:
    refused = run("issue", "alice")
    assert refused.status == main.EXIT_CONFIGURATION
    assert "There is no " in refused.err
    assert "ml-agent init --scripts REPOSITORY" in refused.err


@pytest.mark.parametrize("form", ["version", "--version"])
def test_both_forms_print_the_version(run: Run, form: str) -> None:
    assert (shown := run(form)).status == 0
    assert shown.out == f"ml-agent {__version__}\n"


def test_a_file_that_cannot_be_used_is_named_and_no_traceback_shown(ready: Run, home: Path) -> None:
    (home / "file").write_text("")
    refused = ready("audit", "--archive", str(home / "file/old.jsonl"), "--before", "0s")
    assert refused.status == main.EXIT_FAILURE
    assert f"error: {home}/file cannot be used: File exists." in refused.err
    assert "hint: Look at the path" in refused.err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "A file cannot be used: No space left on device.",
        ),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
            "a and b cannot be used: Invalid",
        ),
    ],
)
def test_what_the_system_says_of_files_is_a_failure(error: OSError, told: str) -> None:
    assert told in str(failure.of_file(error))


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "Bad file descriptor"), TimeoutError()])
def test_what_is_a_bug_keeps_its_traceback(
    ready: Run, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def broken() -> None:
        raise error

    monkeypatch.setattr(main, "load", broken)
    with pytest.raises(OSError) as raised:  # noqa: PT011 (this very one)
        ready("secret", "list")
    assert raised.value is error


# --- secrets ------------------------------------------------------------------------------------------


def test_a_file_that_others_can_read_is_remarked(tmp_path: Path) -> None:
    file = tmp_path / "connections.toml"
    file.write_text("x")
    file.chmod(0o644)
    assert "chmod 600" in (secret_value.left_readable(file) or "")
    assert secret_value.left_readable(None) is None


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"nowhere cannot be read: No such file"):
        secret_value.read_value(tmp_path / "nowhere")


def test_a_secret_for_somebody_who_never_had_a_certificate_is_remarked(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_for(user: str) -> str:
        change = SecretChange(
            name="api-key",
            user=user,
            created_at=now(),
            updated_at=now(),
            age_seconds=0,
            rotated=False,
            earlier_value_in=[],
        )
        monkeypatch.setattr(main, "_with_credentials", lambda _: change)
        done = ready("secret", "set", "api-key", "--user", user, "--file", str(home / "value"))
        assert done.status == 0
        return str(done.err)

    (home / "value").write_text("x")
    ready("issue", "alice", "--output", str(home / "ids"))
    assert "certificate" not in set_for("alice")
    assert "alise never had a certificate" in set_for("alise")


# --- install ------------------------------------------------------------------------------------------


def test_what_is_shipped_is_found() -> None:
    assert (shipped("units") / install.SERVICE).is_file()


def test_a_plan_fills_every_placeholder_of_the_units(ready: Run, home: Path) -> None:
    files = {path.name: content for path, content in install.user_plan(load()).files.items() if content}
    assert f"ExecStart={install._executable()} serve".encode() in files[install.SERVICE]
    assert f"ReadWritePaths={home}/.local/state/ml-agent %t".encode() in files[install.SERVICE]
    assert b"ListenStream=8443\n" in files[install.SOCKET]
    for name, content in files.items():
        assert not install._PLACEHOLDER.search(content.decode()), name


def test_an_upgrade_builds_the_image_on_the_base_that_it_was_built_on(ready: Run, home: Path) -> None:
    def base(**options: str) -> bytes:
        content = install.user_plan(load(), **options).files[placed]
        assert content is not None
        return content.partition(b"BASE=")[2].split()[0]

    placed = home / ".config/containers/systemd" / install.RUNNER
    assert base() == install.DEFAULT_BASE.encode()
    placed.parent.mkdir(parents=True)
    placed.write_bytes(
        install.user_plan(load(), base="registry.example.com/python:3.13").files[placed] or b""
    )
    assert base() == b"registry.example.com/python:3.13"
    assert b"registry.example.com/python:3.13" in ready("install", "--dry-run").out.encode()
    assert base(base="localhost/other:1") == b"localhost/other:1"


def test_a_dry_run_shows_the_plan_and_changes_nothing(ready: Run, home: Path) -> None:
    shown = ready("install", "--dry-run")
    assert "systemctl --user daemon-reload" in shown.out
    assert not (home / ".config/systemd").exists()


def test_the_socket_is_stopped_only_where_it_will_listen_elsewhere(ready: Run, home: Path) -> None:
    def stops() -> bool:
        return any("stop" in command for command in install.user_plan(load()).before)

    assert not stops()
    placed = home / ".config/systemd/user" / install.SOCKET
    placed.parent.mkdir(parents=True)
    placed.write_bytes(install.user_plan(load()).files[placed] or b"")
    assert not stops()
    placed.write_text("[Socket]\nListenStream=1\n")
    assert stops()


def test_a_configuration_elsewhere_is_handed_to_the_service(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".config/ml-agent/config.toml").rename(home / "other.toml")
    monkeypatch.setenv("ML_AGENT_CONFIG", str(home / "other.toml"))
    plan = install.user_plan(load())
    drop_in = plan.files[home / ".config/systemd/user" / install.CONFIG_DROP_INS[0]]
    assert drop_in == f"[Service]\nEnvironment=ML_AGENT_CONFIG={home}/other.toml\n".encode()


@pytest.mark.parametrize("variable", ["ML_AGENT_HTTP__PORT", "ml_agent_http__port"])
def test_a_setting_that_the_service_would_not_see_is_refused(
    ready: Run, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "9443")
    assert load().http.port == 9443
    refused = ready("install", "--dry-run")
    assert refused.status == main.EXIT_CONFIGURATION
    assert f"would not see what the environment says: {variable}." in refused.err
    assert "ml-agent/config.toml" in refused.err
    assert refused.out == ""
    assert ready("uninstall", "--dry-run").status == 0


def test_a_path_that_systemd_would_read_differently_is_refused(ready: Run) -> None:
    settings = load().model_copy(update={"state_directory": Path("/srv/100% state")})
    with pytest.raises(AgentError, match="cannot stand in a unit file"):
        install.user_plan(settings)


def test_removing_is_the_reverse_of_installing(ready: Run) -> None:
    settings = load()
    for runtime in (False, True):
        placed = install.user_plan(settings, runtime=runtime).files
        removed = install.user_removal(settings.runtime_directory, runtime=runtime).files
        assert set(placed) == set(removed)
        assert set(removed.values()) == {None}


@pytest.mark.parametrize("jobs_run", [True, False])
def test_what_jobs_need_is_stopped_where_none_runs(ready: Run, home: Path, jobs_run: bool) -> None:
    def removal() -> install.Plan:
        return install.user_removal(load().runtime_directory, jobs_run=jobs_run)

    assert not removal().before
    (home / ".config/systemd/user").mkdir(parents=True)
    (home / ".config/systemd/user" / install.SOCKET).touch()
    stopped = [pattern for command in removal().before if "stop" in command for pattern in command]
    assert any(fnmatch("ml-podman.service", pattern) for pattern in stopped) is not jobs_run


def test_what_was_placed_is_removed_without_a_configuration_too(ready: Run, home: Path) -> None:
    (home / ".config/ml-agent/config.toml").unlink()
    removed = ready("uninstall", "--dry-run")
    assert removed.status == 0
    assert f"rm -f {home}/.config/systemd/user/{install.SOCKET}" in removed.out
    assert "There is no " in removed.err


def test_the_hosts_part_is_for_one_account_and_for_root(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("install", "--system", "--account", "root", "--dry-run")
    assert "/etc/systemd/system/user@0.service.d/50-ml-agent.conf" in shown.out
    assert "loginctl enable-linger root" in shown.out
    assert "usermod --append --groups systemd-journal root" in shown.out
    assert "no account nobody-here" in run("install", "--system", "--account", "nobody-here").err
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "needs root" in run("install", "--system", "--account", "root").err


def test_the_hosts_part_says_what_was_done_and_from_when_it_holds(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(install.Plan, "carry_out", lambda _: None)
    said = run("install", "--system", "--account", "root").out
    assert "made     /etc/systemd/system/user@0.service.d/50-ml-agent.conf\n" in said
    assert "ran      loginctl enable-linger root\n" in said
    assert said.endswith("after a reboot.\n")
    assert f"removed  {install.JOURNALD_DROP_IN}\n" in run("uninstall", "--system", "--account", "root").out


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    plan = install.Plan(files={}, after=[["sh", "-c", "echo no such unit >&2; exit 5"]])
    with pytest.raises(AgentError, match="no such unit"):
        plan.carry_out()


RUNTIME_DIRECTORY = os.environ.get("XDG_RUNTIME_DIR", "/nonexistent")  # before a test changes it
needs_a_user_manager = pytest.mark.skipif(
    not Path(RUNTIME_DIRECTORY, "systemd/private").exists(), reason="there is no systemd user manager"
)


def _analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--user", *arguments]
    environment = {**os.environ, "XDG_RUNTIME_DIR": RUNTIME_DIRECTORY}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.host
@needs_a_user_manager
def test_systemd_takes_every_line_of_the_units(ready: Run, tmp_path: Path) -> None:
    directory = _placed(tmp_path)
    verified = _analyze("verify", *(str(directory / name) for name in install.UNITS))
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.host
@needs_a_user_manager
def test_the_agents_cage_scores_at_most_2_0(ready: Run, tmp_path: Path) -> None:
    service = _placed(tmp_path) / install.SERVICE
    scored = _analyze("security", "--offline=yes", "--threshold=20", str(service))
    assert scored.returncode == 0, scored.stdout[-200:] + scored.stderr


def _placed(tmp_path: Path) -> Path:
    """The rendered units in a directory that no manager reads, with a program that exists."""
    directory = tmp_path / "units"
    directory.mkdir()
    for path, content in install.user_plan(load()).files.items():
        if content and path.name in install.UNITS:
            text = content.decode().replace(f"{install._executable()} serve", "/bin/true serve")
            (directory / path.name).write_text(text)
    return directory


# --- doctor -------------------------------------------------------------------------------------------


def test_the_doctor_says_how_to_mend_whatever_is_not_well(ready: Run) -> None:
    examined = ready("doctor", "--json")
    lines = json.loads(examined.out)
    assert examined.status == (1 if any(one["level"] == "fail" for one in lines) else 0)
    assert {"systemd", "podman", "journal", "clock", "disk", "authority"} <= {one["subject"] for one in lines}
    for finding in lines:
        assert finding["seen"], finding
        assert bool(finding["remedy"]) == (finding["level"] != "ok"), finding


def test_the_doctor_prints_a_line_for_a_person(ready: Run) -> None:
    assert "ok    authority           valid until" in ready("doctor").out


@pytest.mark.parametrize(
    ("listen", "level"),
    [
        ("Listen=[::]:8443 (Stream)", "ok"),
        ("Listen=127.0.0.1:9000 (Stream)\nListen=[::]:8443 (Stream)", "ok"),
        ("Listen=/run/user/1000/agent (Stream)", "ok"),
        ("Listen=[::]:18443 (Stream)", "fail"),
    ],
)
def test_a_socket_that_listens_elsewhere_than_the_configuration_says_is_found(
    ready: Run, monkeypatch: pytest.MonkeyPatch, listen: str, level: str
) -> None:
    async def output(*command: str) -> str:
        return "active\n" if "is-active" in command else f"{listen}\n"

    monkeypatch.setattr(doctor, "_output", output)
    finding = asyncio.run(doctor._socket(load()))
    assert finding.level == level
    if level == "fail":
        assert finding.seen == "ml-agent.socket is active on port 18443, and http.port is 8443"
        assert "`ml-agent install`" in finding.remedy


@pytest.mark.host
@needs_a_user_manager
@pytest.mark.parametrize(
    ("drop_in", "level", "told"),
    [
        ("[Service]\nTimeoutStopSec=120\n", "ok", "quadlet"),
        ("[Container]\nTmpfs=/tmp:size=4g\n", "fail", "it mounts /tmp twice"),
        ("[Container]\nFoo=bar\n", "fail", "unsupported key 'Foo'"),
        ("[Contaner]\nTmpfs=/scratch\n", "warn", "Unknown section 'Contaner'"),
        ("[Container\nTmpfs=/scratch\n", "warn", "50-site.conf"),
        ("[Service]\nFoo=bar\n", "warn", "Unknown key 'Foo' in section [Service]"),
        ("[Service]\nTimeoutStopSec=soon\n", "warn", "TimeoutStopSec=soon"),
    ],
)
def test_the_doctor_compiles_a_job_with_the_sites_policy(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch, drop_in: str, level: str, told: str
) -> None:
    directory = home / ".config/ml-agent" / f"{TEMPLATE}.d"
    directory.mkdir()
    (directory / "50-site.conf").write_text(drop_in)
    monkeypatch.setenv("XDG_RUNTIME_DIR", RUNTIME_DIRECTORY)
    finding = asyncio.run(doctor._quadlet(load()))
    assert finding.level == level, finding
    assert told in finding.seen
    assert bool(finding.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("text", "version"),
    [("systemd 257 (257.13-1~deb13u1)", (257, 0)), ("5.4.2", (5, 4)), ("5.3.0-rc1", (5, 3)), ("", (0, 0))],
)
def test_versions_are_read_from_what_programs_print(text: str, version: tuple[int, int]) -> None:
    assert findings.version_of(text) == version


@pytest.mark.parametrize(
    ("configuration", "off"),
    [
        ("[Journal]\n#RateLimitIntervalSec=30s\n", False),
        ("[Journal]\nRateLimitIntervalSec=0\n", True),
        ("[Journal]\nRateLimitIntervalSec = 0s\n", True),
        ("[Journal]\nRateLimitBurst=0\n", True),
        ("[Journal]\nRateLimitIntervalSec=0\n[Journal]\nRateLimitIntervalSec=30s\n", False),
        ("", False),
    ],
)
def test_the_last_word_about_journalds_rate_limit_counts(configuration: str, off: bool) -> None:
    assert findings.rate_limit_is_off(configuration) is off


def test_what_systemd_ignores_is_told_of_the_unit_itself_and_of_no_other() -> None:
    verified = (
        "/tmp/x/a.service:93: Unknown section 'Contaner'. Ignoring.\n"
        "/etc/systemd/user/b.service:1: Unknown key 'Foo' in section [Service], ignoring.\n"
        "a.service: Command /opt/program is not executable: No such file or directory\n"
    )
    assert findings.ignored_lines(verified, Path("/tmp/x/a.service")) == [
        "Unknown section 'Contaner'. Ignoring."
    ]


def test_a_declared_secret_that_is_missing_names_the_scripts_that_need_it() -> None:
    scripts = [
        Script(script_name="a.py", sha256="", secrets=["snowflake"]),
        Script(script_name="b.py", sha256="", secrets=["snowflake", "api"]),
    ]
    moment = datetime.now(UTC)
    secrets = [Secret("api", None, moment, moment)]
    api, snowflake = findings.declared_secrets(scripts, secrets)
    assert (api.level, api.seen) == (findings.Level.OK, "set for everybody")
    assert (snowflake.level, snowflake.seen) == (findings.Level.WARN, "not set, but needed by a.py, b.py")
    _, own = findings.declared_secrets(scripts, [*secrets, Secret("snowflake", "alice", moment, moment)])
    assert (own.level, own.seen) == (findings.Level.WARN, "set for alice")


def test_a_declared_network_that_the_site_does_not_define_names_the_scripts_that_need_it() -> None:
    scripts = [
        Script(script_name="a.py", sha256="", network="warehouse"),
        Script(script_name="b.py", sha256="", network="warehouse"),
        Script(script_name="c.py", sha256="", network="lan"),
        Script(script_name="d.py", sha256=""),
    ]
    (warehouse,) = findings.undefined_networks(scripts, {"lan": "lan.network", "none": "none"}.get)
    assert (warehouse.subject, warehouse.level) == ("network warehouse", findings.Level.WARN)
    assert warehouse.seen == "not defined, but needed by a.py, b.py"
    assert "networks.warehouse or egress.warehouse" in warehouse.remedy


def test_the_doctor_names_scripts_that_cannot_be_listed_and_says_why(ready: Run, home: Path) -> None:
    (home / "repository/scripts/bad.py").write_text("# /// ml-job\n# descripton = 'x'\n# ///\n")
    (home / "repository/scripts/lost.py").write_text("# /// ml-job\n# network = 'nowhere'\n# ///\n")
    commit(home / "repository")

    async def examined() -> list[findings.Finding]:
        return [each async for each in doctor._scripts(load(), [])]

    scripts, bad, nowhere = asyncio.run(examined())
    assert (scripts.level, scripts.seen[:5]) == (findings.Level.OK, "2 in ")
    assert (bad.subject, bad.level) == ("script bad.py", findings.Level.WARN)
    assert bad.seen.endswith("descripton: is no key of an ml-job block")
    assert nowhere.subject == "network nowhere"


def test_who_needs_a_new_certificate_is_named_a_week_before() -> None:
    moment = datetime.now(UTC)

    def certificate(user: str, days: float) -> Certificate:
        return Certificate(
            serial=f"{user}{days}",
            user=user,
            role=Role.ANALYST,
            issued_at=moment,
            expires_at=moment + timedelta(days=days),
        )

    certificates = [
        certificate("alice", 3),
        certificate("alice", 20),
        certificate("bob", 6),
        certificate("c", -1),
    ]
    finding = findings.expiring_clients(certificates, moment)
    assert finding.level is findings.Level.WARN
    assert finding.seen == "2 with a valid certificate, ending soon: bob"
    assert findings.expiring_clients([], moment).remedy


def old_job() -> Job:
    """Alice's, which ended a hundred days ago."""
    job_id, ended = new_job_id(), now() - timedelta(days=100)
    return Job(
        job_id=job_id,
        status=JobState.CANCELLED,
        owner="alice",
        script_name="hello.py",
        hyperparameters={},
        limits=Limits(),
        commit="0" * 40,
        script_sha256="1" * 64,
        image="localhost/image:latest",
        image_digest="",
        network="none",
        unit=unit_name(job_id),
        created_at=ended,
        finished_at=ended,
    )


async def _stored(*jobs: Job) -> None:
    async with Store.open(load().database) as store:
        for job in jobs:
            await store.jobs.add(job, max_waiting=10)


def test_prune_shows_what_would_go_and_why_and_then_removes_it(ready: Run, home: Path) -> None:
    job, pinned = old_job(), old_job().model_copy(update={"pinned": True})
    asyncio.run(_stored(job, pinned))
    artifacts = load().paths_of(job.job_id).attempt(1).artifacts
    artifacts.mkdir(parents=True)
    (artifacts / "model").write_bytes(b"x" * 100_000)
    plan = ready("prune", "--dry-run", "--json")
    assert plan.status == 0
    document = json.loads(plan.out)
    (entry,) = document["removed"]
    assert (entry["what"], entry["job_id"], entry["rule"]) == ("files", job.job_id, "age")
    assert document["dry_run"] is True
    assert document["freed_bytes"] == entry["bytes"] >= 100_000
    assert (document["kept"]["jobs"], document["kept"]["pinned_jobs"]) == (1, 1)
    assert (artifacts / "model").exists()
    shown = ready("prune", "--dry-run")
    assert shown.out.split("\t")[:2] == ["files", job.job_id]
    assert "Would remove 1 things" in shown.err
    assert "1 pinned" in shown.err
    went = json.loads(ready("prune", "--json").out)
    assert (went["dry_run"], went["removed"], went["kept"]["bytes"]) == (False, document["removed"], 0)
    assert not load().paths_of(job.job_id).directory.exists()
    assert json.loads(ready("prune", "--json").out)["removed"] == []
