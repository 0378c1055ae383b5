"""The doctor's checks of what jobs need."""

import asyncio
from pathlib import Path

import pytest

from agent.cli.admin.doctor import jobs
from agent.cli.admin.doctor.findings import Finding, Level
from agent.config_files import load
from agent.runtime.quadlet import TEMPLATE
from tests.support.git_repository import commit
from tests.support.ml_agent import USER_RUNTIME_DIRECTORY, Run, needs_a_user_manager


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
def test_a_job_is_compiled_with_the_sites_policy(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch, drop_in: str, level: str, told: str
) -> None:
    directory = home / ".config/ml-agent" / f"{TEMPLATE}.d"
    directory.mkdir()
    (directory / "50-site.conf").write_text(drop_in)
    monkeypatch.setenv("XDG_RUNTIME_DIR", USER_RUNTIME_DIRECTORY)
    finding = asyncio.run(jobs.quadlet(load()))
    assert finding.level == level, finding
    assert told in finding.seen
    assert bool(finding.remedy) == (level != "ok")


def test_a_script_that_cannot_be_listed_is_named_with_the_reason(ready: Run, home: Path) -> None:
    (home / "repository/scripts/bad.py").write_text("# /// ml-job\n# descripton = 'x'\n# ///\n")
    (home / "repository/scripts/lost.py").write_text("# /// ml-job\n# network = 'nowhere'\n# ///\n")
    commit(home / "repository")

    async def examined() -> list[Finding]:
        return [each async for each in jobs.scripts(load(), [])]

    scripts, bad, nowhere = asyncio.run(examined())
    assert (scripts.level, scripts.seen[:5]) == (Level.OK, "2 in ")
    assert (bad.subject, bad.level) == ("script bad.py", Level.WARN)
    assert bad.seen.startswith("is not listed and cannot be run: descripton")
    assert nowhere.subject == "network nowhere"
