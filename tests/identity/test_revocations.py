"""What is kept beside the state of what was revoked and withdrawn."""

from pathlib import Path

from agent.identity import revocations
from agent.model.base import now
from agent.model.ref import Withdrawal
from tests.support.certificates import make_certificate

WITHDRAWAL = Withdrawal(commit="1" * 40, reason="It leaks.", by="ml", at=now())


def test_lines_are_only_added_and_each_once(tmp_path: Path) -> None:
    path = revocations.path_of(tmp_path / "state")
    assert (path, revocations.read(path)) == (tmp_path / "state.revoked", None)
    good, bad = make_certificate("aa"), make_certificate("bb").model_copy(update={"revoked_at": now()})
    revocations.keep(path, ["first"], [good, bad], [])
    before = path.read_bytes()
    assert path.stat().st_mode & 0o777 == 0o600
    revocations.keep(path, ["first"], [good], [])  # an older record
    assert path.read_bytes() == before
    revocations.keep(path, ["second"], [], [WITHDRAWAL])
    assert path.read_bytes().startswith(before)
    kept = revocations.read(path)
    assert kept is not None
    assert (kept.authorities, set(kept.serials), set(kept.withdrawn), kept.unreadable) == (
        {"first", "second"},
        {"bb"},
        {"1" * 40},
        0,
    )


def test_a_commit_that_is_readmitted_is_not_withdrawn(tmp_path: Path) -> None:
    path = tmp_path / "state.revoked"
    revocations.keep(path, [], [], [WITHDRAWAL])
    revocations.keep(path, [], [], [], readmitted=WITHDRAWAL.commit)
    kept = revocations.read(path)
    assert kept is not None
    assert kept.withdrawn == {}
    revocations.keep(path, [], [], [WITHDRAWAL])
    kept = revocations.read(path)
    assert kept is not None
    assert set(kept.withdrawn) == {WITHDRAWAL.commit}


def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "state.revoked"
    path.write_text('{"revoked": "aa", "user": "alice", "at": ""}\n{"revoked": "b')
    bad = make_certificate("bb").model_copy(update={"revoked_at": now()})
    revocations.keep(path, [], [bad], [])
    kept = revocations.read(path)
    assert kept is not None
    assert (set(kept.serials), kept.unreadable) == ({"aa", "bb"}, 1)
