"""The agent's own cage: systemd's score of it, and for each line an attempt that fails by that line alone."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli.job.profile import config_directory

from .agent_cage import NOT_SHOWN, PLANT_KEY, PLANTED, PROBES, REMOVE_KEY, Probe, lines, succeeded

GREATEST_EXPOSURE = 2.0
UNIT = "ml-agent.service"


@pytest.fixture(scope="module")
def planted() -> Iterator[None]:
    """What probes without their lines find: a file in /tmp, semaphores, a key of the manager's session."""
    PLANTED.write_text("x")
    made = subprocess.run(["ipcmk", "--semaphore", "1"], capture_output=True, text=True, check=True).stdout
    assert succeeded([PLANT_KEY], []) == [True]
    yield
    PLANTED.unlink()
    subprocess.run(["ipcrm", "--semaphore-id", made.rpartition(":")[2].strip()], check=True)
    assert succeeded([REMOVE_KEY], []) == [True]


@pytest.fixture(scope="module")
def free(planted: None) -> dict[str, bool]:
    """What each probe could do without its own line."""
    found: dict[str, bool] = {}
    for beside in {probe.beside for probe in PROBES}:
        probes = [probe for probe in PROBES if probe.beside == beside]
        results = succeeded([probe.program for probe in probes], beside)
        found |= dict(zip([probe.what for probe in probes], results, strict=True))
    return found


@pytest.fixture(scope="module")
def caged(planted: None) -> dict[str, bool]:
    """What each probe could do in the whole cage."""
    results = succeeded([probe.program for probe in PROBES], lines())
    return dict(zip([probe.what for probe in PROBES], results, strict=True))


def test_every_line_of_the_cage_has_a_probe_or_a_reason_why_not() -> None:
    probed = {line for probe in PROBES for line in probe.by}
    assert probed | NOT_SHOWN.keys() == set(lines()) | NOT_SHOWN.keys()
    assert set(lines()) >= NOT_SHOWN.keys()


@pytest.mark.host
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.what.replace(" ", "-"))
def test_a_line_of_the_cage_is_what_forbids_it(
    planted: None, free: dict[str, bool], caged: dict[str, bool], probe: Probe
) -> None:
    assert free[probe.what], f"without {probe.by} it cannot be done either: the probe shows nothing"
    assert not caged[probe.what], "the whole cage lets it"
    assert succeeded([probe.program], [*probe.beside, *probe.by]) == [False], f"{probe.by} alone lets it"


@pytest.mark.host
def test_the_agents_own_places_are_the_only_ones_it_can_write_to(planted: None) -> None:
    write = "import tempfile\ntempfile.TemporaryFile(dir={!r})"
    state = str(Path.home() / ".local/state/ml-agent")
    programs = [write.format(where) for where in (state, os.environ["XDG_RUNTIME_DIR"])]
    assert succeeded(programs, lines()) == [True, True]
    without = [line for line in lines() if not line.startswith("ReadWritePaths=")]
    assert succeeded(programs, without) == [False, False]


@pytest.mark.host
def test_a_priority_can_be_lowered_and_not_raised(planted: None) -> None:
    assert succeeded(["import os\nos.nice(10)", "import os\nos.nice(-1)"], lines()) == [True, False]


@pytest.mark.host
def test_the_agent_can_ask_whether_the_clock_is_synchronised(planted: None) -> None:
    """Where it could not, no time that the host was off would ever count for retention."""
    ask = (
        "import subprocess\nassert subprocess.check_output(['timedatectl', 'show', {!r}, '--value']) in {!r}"
    )
    answers = (b"yes\n", b"no\n")
    programs = [ask.format("--property=NTPSynchronized", answers), ask.format("--property=None", answers)]
    assert succeeded(programs, lines()) == [True, False]


@pytest.mark.host
def test_systemd_scores_the_exposure_as_small() -> None:
    if not (config_directory() / "alice.crt").exists():
        pytest.skip("no agent is installed (tests/host/host install)")
    said = subprocess.run(
        ["systemd-analyze", "--user", "--no-pager", "security", UNIT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout
    score = re.search(rf"exposure level for {re.escape(UNIT)}: ([0-9.]+)", said)
    assert score, said
    print(f"{UNIT}: {score[1]}")
    assert float(score[1]) <= GREATEST_EXPOSURE, said


@pytest.mark.host
def test_the_installed_service_has_the_cage_that_is_shipped() -> None:
    if not (config_directory() / "alice.crt").exists():
        pytest.skip("no agent is installed (tests/host/host install)")
    shown = subprocess.run(
        ["systemctl", "--user", "cat", UNIT], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert [line for line in lines() if "@" not in line and line not in shown] == []
