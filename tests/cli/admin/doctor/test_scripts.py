"""The doctor's checks of the scripts' repository."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.cli.admin.doctor import command
from agent.cli.admin.doctor import scripts as scripts_check
from agent.cli.checks import Finding, Level, guarded
from agent.config_files import load
from agent.errors import AgentError, Problem
from agent.host.podman import Podman
from tests.support.git_repository import commit, git
from tests.support.ml_agent import Run


def examined() -> list[Finding]:
    """The findings where no Podman answers."""

    async def work() -> list[Finding]:
        settings = load()
        async with Podman(settings.state_directory / "nothing.sock") as podman:
            return [each async for each in scripts_check.scripts(settings, podman)]

    return asyncio.run(work())


def test_what_is_left_out_is_named_with_the_reason(ready: Run, home: Path) -> None:
    directory = home / "repository/scripts"
    (directory / "bad.py").write_text("# /// ml-job\n# descripton = 'x'\n# ///\n")
    (directory / "lost.py").write_text("# /// ml-job\n# network = 'nowhere'\n# ///\n")
    (directory / "shared").symlink_to("../lib/shared")
    (directory / "my script.py").touch()
    commit(home / "repository")
    scripts, review, *left_out, nowhere = examined()
    assert (review.subject, review.level) == ("review", Level.OK)
    assert (scripts.level, scripts.seen[:5]) == (Level.OK, "2 in ")
    assert [each.subject for each in left_out] == ["script bad.py", "script my script.py", "script shared"]
    assert {each.level for each in left_out} == {Level.WARN}
    assert all(each.remedy for each in left_out)
    bad, named, shared = (each.seen for each in left_out)
    assert bad.startswith("cannot be run: its ml-job block is malformed: descripton")
    assert named.startswith("cannot be run: names of scripts")
    assert shared == "is a link to ../lib/shared: it leads out of the scripts' directory"
    assert nowhere.subject == "network nowhere"


def test_many_that_are_left_out_are_counted(ready: Run, home: Path) -> None:
    for number in range(30):
        (home / f"repository/scripts/a {number:02}.py").touch()
    commit(home / "repository")
    findings = examined()
    assert len(findings) == 2 + scripts_check.MAX_LEFT_OUT + 1
    assert findings[-1].seen == "10 more"


def test_a_repository_without_the_directory_is_told_what_it_lacks(ready: Run, home: Path) -> None:
    git(home / "repository", "mv", "scripts", "training")
    current = commit(home / "repository")
    (finding,) = examined()
    assert finding.level is Level.FAIL
    assert finding.seen == f"Commit {current[:12]} of the scripts' repository has no directory scripts."
    assert "scripts.directory" in finding.remedy
    assert "Leave `ref` out" not in finding.remedy


def configure(home: Path, **scripts: object) -> None:
    """Adds keys to `[scripts]` of the configuration."""
    path = home / ".config/ml-agent/config.toml"
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in scripts.items())
    path.write_text(path.read_text().replace("[scripts]\n", f"[scripts]\n{lines}"))


def review_of(findings: list[Finding]) -> Finding:
    return next(each for each in findings if each.subject == "review")


def test_the_rules_for_commits_are_told(ready: Run, home: Path) -> None:
    assert review_of(examined()).seen == "runs what is on HEAD"
    git(home / "repository", "branch", "-m", "main")
    configure(home, refs=["main"], development_refs=["ma*"])
    assert review_of(examined()).seen == "runs what is on main, without shared secrets on ma*"


def test_a_checked_out_commit_that_may_not_run_fails(ready: Run, home: Path) -> None:
    git(home / "repository", "checkout", "-q", "-b", "feature/x")
    commit(home / "repository")
    git(home / "repository", "branch", "-q", "-f", "main", "HEAD~1")
    configure(home, refs=["main", "mian"])
    findings = examined()
    review = review_of(findings)
    assert (review.level, "is on none of: main, mian" in review.seen) == (Level.FAIL, True)
    assert review.remedy
    (unmatched,) = [each for each in findings if each.subject == "ref mian"]
    assert (unmatched.level, unmatched.seen) == (Level.WARN, "matches no branch and no tag")


def test_an_unsigned_or_withdrawn_checked_out_commit_fails(ready: Run, home: Path) -> None:
    ready("withdraw", "HEAD", "--reason", "It leaks.")
    withdrawn = review_of(examined())
    assert withdrawn.level is Level.FAIL
    assert withdrawn.seen.endswith("was withdrawn: It leaks.")
    assert "ml-agent readmit" in withdrawn.remedy
    signers = home / "allowed_signers"
    configure(home, require_signed=True, allowed_signers=str(signers))
    assert "cannot be read" in review_of(examined()).seen
    signers.touch()
    unsigned = review_of(examined())
    assert (unsigned.level, "is not signed" in unsigned.seen) == (Level.FAIL, True)


def test_a_repository_that_exceeds_a_bound_says_which(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.scripts.layout.MAX_FILE_BYTES", 10_000)
    (home / "repository/scripts/big.bin").write_bytes(bytes(10_001))
    commit(home / "repository")
    (finding,) = examined()
    assert (finding.level, "big.bin with 10001 bytes" in finding.seen) == (Level.FAIL, True)


def test_a_repository_that_lacks_objects_fails_and_the_other_checks_are_made(ready: Run, home: Path) -> None:
    oid = git(home / "repository", "rev-parse", "HEAD:scripts")
    (home / "repository/.git/objects" / oid[:2] / oid[2:]).unlink()
    ran = ready("doctor", "--json")
    findings = {one["subject"]: one for one in json.loads(ran.out)}
    assert ran.status == 1
    assert findings["scripts"]["level"] == "fail"
    assert "damaged or incomplete" in findings["scripts"]["seen"]
    assert f"git -C {home / 'repository'} fsck" in findings["scripts"]["remedy"]
    assert {
        "systemd",
        "podman",
        "journal",
        "clock",
        "disk",
        "authority",
        "clients",
        "socket",
    } <= findings.keys()


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (AgentError(Problem.HOST, "The bus is gone."), "cannot be checked: The bus is gone."),
        (ValueError("invalid literal"), "cannot be checked: ValueError: invalid literal"),
    ],
)
def test_a_check_that_fails_is_a_finding(error: Exception, seen: str) -> None:
    async def check() -> AsyncIterator[Finding]:
        yield Finding("thing", Level.OK, "good so far")
        raise error

    async def work() -> list[Finding]:
        return [each async for each in guarded("thing", check())]

    first, last = asyncio.run(work())
    assert first.level is Level.OK
    assert (last.subject, last.level, last.seen) == ("thing", Level.FAIL, seen)
    assert last.remedy


def test_every_check_is_made_although_each_other_one_fails(
    ready: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    async def broken(subject: str, findings: AsyncIterator[Finding]) -> AsyncIterator[Finding]:
        async def failing() -> AsyncIterator[Finding]:
            made.append(subject)
            async for _ in findings:
                raise ValueError(subject)
                yield

        async for finding in guarded(subject, failing()):
            yield finding

    monkeypatch.setattr(command, "guarded", broken)
    findings = json.loads(ready("doctor", "--json").out)
    assert [one["subject"] for one in findings] == made
    assert len(made) == 17
    assert {one["level"] for one in findings} == {"fail"}
