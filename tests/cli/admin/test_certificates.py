"""`ml-agent renew`, `list`, `revoke` and `rotate-ca`, and what the doctor says of them."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.cli.admin import findings, main
from agent.config import load
from agent.identity import authority as authority_module
from agent.identity import tls
from agent.identity.key_files import replace_pair
from agent.model.base import now
from agent.model.certificate import Certificate, Role
from agent.store.store import Store
from tests.cli.admin.test_main import Run, home, ready, run  # noqa: F401


async def _store(work: Any) -> Any:
    async with Store.open(load().database) as store:
        return await work(store)


def listed(ready: Run, *options: str) -> list[Any]:  # noqa: F811
    shown = ready("list", "--json", *options)
    assert shown.status == 0, shown.err
    return list(json.loads(shown.out))


def issued(ready: Run, user: str, *options: str) -> str:  # noqa: F811
    """Issues a certificate and returns its serial."""
    done = ready("issue", user, "--replace", *options)
    assert done.status == 0, done.err
    return str(done.out.splitlines()[0].rpartition(" ")[2])


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`issue` writes where one is."""
    monkeypatch.chdir(tmp_path)


def test_renew_makes_a_new_server_certificate_for_the_same_names(ready: Run) -> None:  # noqa: F811
    path = load().pki_directory / "server.crt"
    before = authority_module.certificates(path)[0]
    assert "server.crt, valid until" in ready("renew").out
    after = authority_module.certificates(path)[0]
    assert after.serial_number != before.serial_number
    assert authority_module.server_names(after) == authority_module.server_names(before)
    tls.server_context(load().pki_directory)


def test_list_shows_whose_in_what_role_until_when_and_whose_authority(ready: Run) -> None:  # noqa: F811
    serial = issued(ready, "alice", "--admin", "--days", "7")
    (one,) = listed(ready)
    assert (one["user"], one["role"], one["serial"]) == ("alice", "administrator", serial)
    assert one["authority"] == authority_module.authority_id(
        authority_module.authorities(load().pki_directory)[0]
    )
    assert {"revoked_at", "used_at", "renews"}.isdisjoint(one)
    row = ready("list").out.rstrip("\n").split("\t")
    assert row[:3] == ["alice", "administrator", serial]
    assert row[5:] == ["", one["authority"]]


def test_list_leaves_out_what_has_expired_unless_it_is_asked_for(ready: Run) -> None:  # noqa: F811
    gone = Certificate(
        serial="ab",
        user="bob",
        role=Role.ANALYST,
        issued_at=now() - timedelta(days=9),
        expires_at=now() - timedelta(days=1),
    )
    asyncio.run(_store(lambda store: store.certificates.add(gone)))
    assert listed(ready) == []
    assert [one["serial"] for one in listed(ready, "--all")] == ["ab"]
    # It was recorded before there could be two.
    assert ready("list", "--all").out.rstrip("\n").split("\t")[-1] == authority_module.authority_id(
        authority_module.authorities(load().pki_directory)[0]
    )


def test_a_certificate_is_good_for_as_long_as_the_site_says(
    ready: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ML_AGENT_CERTIFICATES__CLIENT_DAYS", "5")
    monkeypatch.setenv("ML_AGENT_CERTIFICATES__MAX_CLIENT_DAYS", "10")
    issued(ready, "alice")
    (one,) = listed(ready)
    assert timedelta(days=4) < datetime.fromisoformat(one["expires_at"]) - now() <= timedelta(days=5)
    refused = ready("issue", "bob", "--days", "11")
    assert refused.status == main.EXIT_CONFIGURATION
    assert "certificates.max_client_days is 10" in refused.err
    assert not Path("bob.key").exists()


def test_revoke_takes_a_serial_as_any_tool_writes_it(ready: Run) -> None:  # noqa: F811
    serial, other = issued(ready, "alice"), issued(ready, "alice")
    written = serial.upper().zfill(len(serial) + len(serial) % 2)
    done = ready("revoke", ":".join(written[i : i + 2] for i in range(0, len(written), 2)))
    assert (done.status, done.out) == (0, f"revoked  alice, analyst, serial {serial}\n")
    assert f"still good: alice, serial {other}" in done.err
    assert {one["serial"]: "revoked_at" in one for one in listed(ready)} == {serial: True, other: False}
    assert "nothing left to revoke" in ready("revoke", serial).out


def test_revoke_takes_the_beginning_of_a_serial_that_means_one(ready: Run) -> None:  # noqa: F811
    async def add(store: Store) -> None:
        for serial in ("abcdef012345", "abcdef678901"):
            times = {"issued_at": now(), "expires_at": now() + timedelta(days=1)}
            known = {"serial": serial, "user": "alice", "role": Role.ANALYST}
            await store.certificates.add(Certificate.model_validate(known | times))

    asyncio.run(_store(add))
    assert "several serial numbers" in ready("revoke", "abcdef").err
    assert "no certificate" in ready("revoke", "abcde").err
    assert ready("revoke", "ABCDEF0").out == "revoked  alice, analyst, serial abcdef012345\n"


def test_revoke_takes_all_of_a_user(ready: Run) -> None:  # noqa: F811
    hers = {issued(ready, "alice"), issued(ready, "alice")}
    his = issued(ready, "bob")
    done = ready("revoke", "--user", "alice")
    assert {line.rpartition(" ")[2] for line in done.out.splitlines()} == hers
    assert done.err == ""
    assert {one["serial"] for one in listed(ready) if "revoked_at" not in one} == {his}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name a serial number, or a user"),
        (("ab", "--user", "alice"), "not both"),
        (("hello",), "no serial number"),
        (("ab",), "no certificate with serial ab"),
        (("--user", "nobody"), "nobody has no certificate"),
    ],
)
def test_revoke_says_what_it_does_not_understand(
    ready: Run,  # noqa: F811
    arguments: tuple[str, ...],
    why: str,
) -> None:
    refused = ready("revoke", *arguments)
    assert refused.status != 0
    assert why in " ".join(refused.err.replace("│", " ").split())


def renewed_and_used(serial: str, user: str) -> None:
    """What a client's renewal and its first request leave in the record."""

    async def work(store: Store) -> None:
        authority = authority_module.Authority.load(load().pki_directory)
        certificate = authority.issue_client(user)
        row = Certificate(
            serial=certificate.serial,
            user=user,
            role=Role.ANALYST,
            issued_at=now(),
            expires_at=certificate.certificate.not_valid_after_utc,
            authority=authority_module.authority_id(authority.certificate),
            renews=serial,
        )
        await store.certificates.renew(row, limit=10)
        await store.certificates.mark_used(row.serial, now())

    asyncio.run(_store(work))


def test_an_authority_is_replaced_in_two_steps_and_the_second_waits_for_all(ready: Run) -> None:  # noqa: F811
    directory = load().pki_directory
    hers, his = issued(ready, "alice"), issued(ready, "bob")
    old = authority_module.authorities(directory)[0]
    begun = ready("rotate-ca")
    assert begun.status == 0
    assert f"alice has not renewed {hers}" in begun.out
    new = authority_module.authorities(directory)[0]
    assert authority_module.authorities(directory) == [new, old]
    assert "kept" in ready("rotate-ca").out.splitlines()[0]  # it has begun, and does not begin again
    assert authority_module.authorities(directory) == [new, old]

    renewed_and_used(hers, "alice")
    refused = ready("rotate-ca", "--finish")
    assert refused.status == 1
    assert f"bob has not renewed {his}" in refused.err
    assert "alice" not in refused.err
    assert authority_module.authorities(directory) == [new, old]

    renewed_and_used(his, "bob")
    finished = ready("rotate-ca", "--finish")
    assert finished.status == 0
    assert authority_module.authorities(directory) == [new]
    authority_module.certificates(directory / "server.crt")[0].verify_directly_issued_by(new)
    assert "nothing to finish" in ready("rotate-ca", "--finish").out
    shown = {row.split("\t")[2]: row.split("\t")[-1] for row in ready("list").out.splitlines()}
    assert shown[hers] == f"{authority_module.authority_id(old)} ended"
    assert authority_module.authority_id(new) in shown.values()


def test_who_has_not_renewed_can_be_revoked_or_cut_off(ready: Run) -> None:  # noqa: F811
    hers, his = issued(ready, "alice"), issued(ready, "bob")
    ready("rotate-ca")
    ready("revoke", hers)
    forced = ready("rotate-ca", "--finish", "--force")
    assert forced.status == 0
    assert f"cut off  bob has not renewed {his}" in forced.out
    assert "alice" not in forced.out
    assert ready("rotate-ca", "--force").status == 2


def test_who_was_cut_off_is_not_named_when_the_next_authority_ends(ready: Run) -> None:  # noqa: F811
    his = issued(ready, "bob")
    ready("rotate-ca")
    ready("rotate-ca", "--finish", "--force")
    assert his not in ready("rotate-ca").out
    assert ready("rotate-ca", "--finish").status == 0
    mine = issued(ready, "bob")
    revoked = ready("revoke", mine)
    assert (revoked.status, revoked.err) == (0, "")
    other = issued(ready, "bob")
    (load().pki_directory / "ca.crt").unlink()
    assert "revoked  bob" in ready("revoke", other).out  # whatever became of that file


def test_an_authority_that_has_ended_issues_nothing_and_can_be_replaced(
    ready: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    directory = load().pki_directory
    with monkeypatch.context() as patch:
        patch.setattr(authority_module, "CA_LIFETIME", timedelta(minutes=-1))
        ended = authority_module.Authority.make("an old CA")
    replace_pair(directory, "ca", ended.certificate_pem(), ended.key_pem())
    for command in (("issue", "alice"), ("renew",), ("init", "--san", "new.example.org")):
        refused = ready(*command)
        assert refused.status == main.EXIT_CONFIGURATION
        assert "authority ended at" in refused.err
        assert "`ml-agent rotate-ca`" in refused.err
    assert listed(ready) == []
    assert ready("rotate-ca").status == 0
    assert "`ml-agent rotate-ca --finish`" in ready("renew").err  # the server's would still be the old one's
    assert ready("rotate-ca", "--finish").status == 0
    issued(ready, "alice")
    assert ready("renew").status == 0


def test_in_the_overlap_init_keeps_the_servers_certificate_with_the_old_authority(
    ready: Run,  # noqa: F811
) -> None:
    directory = load().pki_directory
    old = authority_module.authorities(directory)[0]
    ready("rotate-ca")
    assert ready("init").out.count("made") == 0
    assert ready("init", "--san", "other.example.org").out.count("made") == 1
    authority_module.certificates(directory / "server.crt")[0].verify_directly_issued_by(old)
    ready("renew")
    authority_module.certificates(directory / "server.crt")[0].verify_directly_issued_by(old)


def test_in_the_overlap_a_new_client_is_given_both_authorities(ready: Run) -> None:  # noqa: F811
    directory = load().pki_directory
    issued(ready, "alice")
    ready("rotate-ca")
    assert ready("issue", "bob").status == 0  # beside the old ca.crt, which is this host's all the same
    assert authority_module.certificates(Path("ca.crt")) == authority_module.authorities(directory)
    authority_module.certificates(Path("bob.crt"))[0].verify_directly_issued_by(
        authority_module.authorities(directory)[0]
    )


def test_init_mends_what_a_crash_left(ready: Run) -> None:  # noqa: F811
    directory = load().pki_directory
    key = directory / "server.key"
    key.rename(directory / "server.key.next")
    assert ready("init").out.count("made") == 0
    assert key.exists()
    (directory / "ca.key").rename(directory / "ca.key.next")
    assert ready("init").status == 0
    assert (directory / "ca.key").exists()


def test_the_doctor_tells_of_a_rotation_until_it_is_finished(ready: Run) -> None:  # noqa: F811
    def finding(subject: str) -> Any:
        found = [one for one in json.loads(ready("doctor", "--json").out) if one["subject"] == subject]
        return found[0] if found else None

    serial = issued(ready, "alice")
    assert finding("rotation") is None
    ready("rotate-ca")
    assert finding("rotation")["level"] == "ok"
    assert "not renewed yet: alice" in finding("rotation")["seen"]
    ready("revoke", serial)
    assert finding("rotation")["level"] == "warn"
    assert "--finish" in finding("rotation")["remedy"]
    ready("rotate-ca", "--finish")
    assert finding("rotation") is None
    assert finding("authority")["level"] == finding("server certificate")["level"] == "ok"
    (load().pki_directory / "server.key").write_bytes((load().pki_directory / "ca.key").read_bytes())
    assert finding("server certificate")["level"] == "fail"


def test_a_rotation_that_takes_longer_than_a_certificate_is_remarked() -> None:
    moment = datetime.now(UTC)
    late = Certificate(serial="a", user="alice", role=Role.ANALYST, issued_at=moment, expires_at=moment)

    def level(days: float, *waiting: Certificate) -> findings.Level:
        begun = moment - timedelta(days=days)
        return findings.rotation_under_way(begun, waiting, moment, timedelta(days=30)).level

    assert level(1, late) is findings.Level.OK
    assert level(31, late) is findings.Level.WARN
    assert level(1) is findings.Level.WARN


@pytest.mark.parametrize("command", [("renew",), ("list",), ("rotate-ca",), ("rotate-ca", "--finish")])
def test_without_an_authority_the_remedy_is_named(
    ready: Run,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: tuple[str, ...],
) -> None:
    monkeypatch.setenv("ML_AGENT_STATE_DIRECTORY", str(tmp_path / "nothing"))
    (tmp_path / "nothing").mkdir()
    refused = ready(*command)
    assert refused.status == main.EXIT_CONFIGURATION
    assert "`ml-agent init`" in refused.err
