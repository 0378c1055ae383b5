"""`ml-agent issue` and `invite`: files or a link for a user, their record, and what is refused before."""

import asyncio
import json
import stat
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.cli.admin import init
from agent.cli.failure import EXIT_CONFIGURATION
from agent.cli.job.profile import Profile
from agent.config_files import load
from agent.errors import AgentError, Problem
from agent.identity.authority import authorities
from agent.identity.certificates import admitted_until, digest_of
from agent.identity.key_files import certificates
from agent.identity.subject import fingerprint
from agent.model.base import now
from agent.model.certificate import Invitation, Role
from agent.store.certificates import CertificateStore
from agent.store.store import Store
from tests.support.ml_agent import Run, with_store


def test_issue_writes_its_files_and_records_the_certificate(ready: Run, home: Path) -> None:
    issued = ready("issue", "alice", "--admin", "--days", "7", "--output", str(home / "ids"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (home / "ids").iterdir()}
    open_to_all = dict.fromkeys(("ca.crt", "alice.crt", "config.toml"), 0o644)
    assert modes == open_to_all | {"alice.key": 0o600, "alice.p12": 0o600}
    password = issued.out.strip().rsplit(" ", 1)[1]
    assert (home / "ids/alice.p12").read_bytes()
    assert len(password) == 23
    certificate = certificates(home / "ids/alice.crt")[0]
    serial = f"{certificate.serial_number:x}"
    recorded = asyncio.run(with_store(lambda store: store.certificates.get(serial)))
    assert recorded is not None
    assert (recorded.user, recorded.role) == ("alice", Role.ADMINISTRATOR)
    assert recorded.expires_at == certificate.not_valid_after_utc


def test_issue_makes_certificates_for_programs_of_a_fleet(ready: Run, home: Path) -> None:
    assert ready("issue", "front-1", "--peer", "front", "--output", str(home)).out.startswith(
        "front-1, front, "
    )
    assert ready("issue", "member-1", "--peer", "member", "--output", str(home)).status == 0
    refused = ready("issue", "alice", "--peer", "front", "--admin", "--output", str(home))
    assert refused.status == 2
    assert "choose one of --admin, --operator and --peer" in " ".join(refused.err.split())
    assert not (home / "alice.crt").exists()


def test_issue_overwrites_files_only_with_replace(ready: Run, home: Path) -> None:
    where = ("--output", str(home))
    ready("issue", "alice", *where)
    key = (home / "alice.key").read_bytes()
    assert "alice.crt exists" in ready("issue", "alice", *where).err
    assert (home / "alice.key").read_bytes() == key
    assert ready("issue", "alice", "--replace", *where).status == 0
    assert (home / "alice.key").read_bytes() != key


def test_issue_does_not_mix_the_authorities_of_two_hosts(ready: Run, home: Path) -> None:
    (home / "ca.crt").write_text("another")
    assert "another authority" in ready("issue", "alice", "--output", str(home)).err
    assert not (home / "alice.key").exists()


def test_issue_records_nothing_that_it_cannot_write(ready: Run, home: Path) -> None:
    (home / "file").write_text("")
    (home / "ids/alice.key").mkdir(parents=True)
    for where, why in (
        (home / "file", "file cannot be written to: Not a directory"),
        (home / "file/ids", "ids cannot be written to: Not a directory"),
        (Path("/proc/nope"), "/proc/nope cannot be written to: No such file"),
        (home / "ids", "alice.key is a directory"),
    ):
        refused = ready("issue", "alice", "--replace", "--output", str(where))
        assert refused.status == EXIT_CONFIGURATION
        assert why in refused.err
    assert json.loads(ready("list", "--json").out) == []


def test_what_is_issued_is_all_that_ml_job_needs(ready: Run, home: Path) -> None:
    assert ready("issue", "alice", "--output", str(home / "ids")).status == 0
    assert ready("issue", "bob", "--output", str(home / "ids")).status == 0
    profile = Profile.load(home / "ids", server=None, identity=None)
    name = init.served_names(load().pki_directory)[0]
    assert (profile.server, profile.identity) == (f"https://{name}:8443", "alice")


def test_a_failed_issue_leaves_the_existing_files(
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


def test_a_user_cannot_have_the_name_of_the_authoritys_file(ready: Run, home: Path) -> None:
    refused = ready("issue", "ca", "--replace", "--output", str(home / "ids"))
    assert refused.status == EXIT_CONFIGURATION
    assert "cannot be named ca: ca.crt is the authority's" in refused.err
    assert not (home / "ids").exists()
    assert ready("issue", "server", "--output", str(home / "ids")).status == 0


@pytest.mark.parametrize("user", ["Alice", "../alice", "", "a b", "-a", "a" * 64])
def test_issue_refuses_a_name_that_no_user_can_have(ready: Run, user: str) -> None:
    assert ready("issue", "--", user).status == 2


def test_a_certificate_has_one_role(ready: Run, home: Path) -> None:
    refused = ready("issue", "alice", "--operator", "--admin", "--output", str(home / "ids"))
    assert refused.status == 2
    assert not (home / "ids").exists()


def test_the_configuration_says_how_long_a_certificate_is_valid(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_AGENT_CERTIFICATES__CLIENT_DAYS", "5")
    monkeypatch.setenv("ML_AGENT_CERTIFICATES__MAX_CLIENT_DAYS", "10")
    where = ("--output", str(home / "ids"))
    assert ready("issue", "alice", *where).status == 0
    (one,) = json.loads(ready("list", "--json").out)
    assert timedelta(days=4) < datetime.fromisoformat(one["expires_at"]) - now() <= timedelta(days=5)
    refused = ready("issue", "bob", "--days", "11", *where)
    assert refused.status == EXIT_CONFIGURATION
    assert "certificates.max_client_days is 10" in refused.err
    assert not (home / "ids/bob.key").exists()


def test_during_a_rotation_a_new_client_gets_both_authorities(ready: Run, home: Path) -> None:
    directory = load().pki_directory
    where = ("--output", str(home / "ids"))
    ready("issue", "alice", *where)
    ready("rotate-ca")
    assert ready("issue", "bob", *where).status == 0  # the ca.crt there is of the same host
    assert certificates(home / "ids/ca.crt") == authorities(directory)
    certificates(home / "ids/bob.crt")[0].verify_directly_issued_by(authorities(directory)[0])


def invitation(code: str) -> Invitation | None:
    async def work(store: Store) -> Invitation | None:
        return await store.invitations.get(digest_of(code))

    return asyncio.run(with_store(work))


def link_in(text: str) -> str:
    return next(line.strip() for line in text.splitlines() if "ml-job://" in line)


def test_a_link_has_the_address_the_code_and_the_authority(ready: Run) -> None:
    ended = ready("invite", "alice", "--operator", "--days", "7", "--hours", "2")
    assert ended.status == 0, ended.err
    parts = urlsplit(link_in(ended.out))
    query = parse_qs(parts.query)
    settings = load()
    assert (parts.scheme, parts.path, parts.port) == ("ml-job", "/enrol", settings.http.port)
    assert query["ca"] == [fingerprint(authorities(settings.pki_directory)[0])]
    made = invitation(query["code"][0])
    assert made is not None
    assert (made.user, made.role, made.days) == ("alice", Role.OPERATOR, 7)
    until = admitted_until(settings.pki_directory)
    assert until == made.expires_at
    assert 7100 < (until - now()).total_seconds() <= 7200


def test_a_shorter_invitation_does_not_end_a_longer_one(ready: Run) -> None:
    ready("invite", "alice", "--hours", "48")
    until = admitted_until(load().pki_directory)
    ready("invite", "bob", "--hours", "1")
    assert admitted_until(load().pki_directory) == until


def test_a_name_that_the_server_does_not_have_is_refused(ready: Run) -> None:
    ended = ready("invite", "alice", "--host", "elsewhere.example")
    assert ended.status != 0
    assert "does not have the name elsewhere.example" in ended.err
    assert "--san elsewhere.example" in ended.err
    assert admitted_until(load().pki_directory) is None


@pytest.mark.parametrize(
    "arguments", [("Alice!",), ("alice", "--hours", "0"), ("alice", "--admin", "--operator")]
)
def test_wrong_arguments_make_no_invitation(ready: Run, arguments: tuple[str, ...]) -> None:
    assert ready("invite", *arguments).status == 2
    assert admitted_until(load().pki_directory) is None


def test_revoking_a_user_withdraws_the_invitations_too(ready: Run) -> None:
    code = parse_qs(urlsplit(link_in(ready("invite", "alice").out)).query)["code"][0]
    ended = ready("revoke", "--user", "alice")
    assert ended.status == 0, ended.err
    assert "withdrew 1 invitation of alice" in ended.out
    assert invitation(code) is None


def test_the_audit_has_the_invitation_and_its_withdrawal_but_not_the_code(ready: Run) -> None:
    code = parse_qs(urlsplit(link_in(ready("invite", "alice").out)).query)["code"][0]
    ready("revoke", "--user", "alice")
    shown = ready("audit", "--json").out
    assert '"invite"' in shown
    assert '"withdrawInvitations"' in shown
    assert code not in shown


def test_a_certificate_that_the_site_does_not_allow_cannot_be_promised(ready: Run) -> None:
    most = load().certificates.max_client_days
    ended = ready("invite", "alice", "--days", str(most + 1))
    assert ended.status != 0
    assert admitted_until(load().pki_directory) is None
    assert ready("invite", "alice", "--days", str(most)).status == 0
