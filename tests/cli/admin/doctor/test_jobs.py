"""The doctor's checks of what jobs need."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.cli.admin.doctor import jobs
from agent.cli.checks import Level
from agent.config_files import load
from agent.host.images import Image
from agent.host.podman import Host
from agent.runtime.quadlet import TEMPLATE
from tests.support.job_scene import StandInPodman
from tests.support.ml_agent import USER_RUNTIME_DIRECTORY, Run, needs_a_user_manager, put_on_path


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


@pytest.mark.parametrize(
    ("recipe", "level", "told"),
    [
        ("1234", Level.OK, "sha256:"),
        ("", Level.OK, "sha256:"),  # of another maker, or of an earlier version
        ("other", Level.WARN, "built from other files than those that are installed"),
        (None, Level.FAIL, "is missing"),
    ],
)
def test_an_image_that_was_built_from_other_files_is_told(
    recipe: str | None, level: Level, told: str
) -> None:
    found = None if recipe is None else Image("sha256:" + "1" * 64, "sha256:" + "2" * 64, (), recipe)
    finding = jobs.image("localhost/ml-runner:latest", found, "1234")
    assert (finding.level, told in finding.seen) == (level, True)
    assert ("ml-runner-build" in finding.remedy) == (level is not Level.OK)


@pytest.mark.parametrize(
    ("there", "refused", "level", "told"),
    [
        ({"cpu", "cpuset", "io", "memory", "pids"}, True, Level.OK, "cgroup v2"),
        ({"cpu", "memory", "pids"}, True, Level.WARN, "not delegated: cpuset io; jobs run without"),
        ({"cpu", "cpuset", "io", "pids"}, True, Level.FAIL, "not delegated: memory; no job starts"),
        ({"cpu", "cpuset", "io", "pids"}, False, Level.WARN, "not delegated: memory; jobs run without"),
        (set[str](), True, Level.FAIL, "not delegated: cpu cpuset io memory pids; no job starts"),
    ],
)
def test_missing_controllers_are_named_with_their_effect(
    there: set[str], refused: bool, level: Level, told: str
) -> None:
    host = Host("5.4.2", "v2", frozenset(there), 65_536, Path("/storage"))
    finding = jobs.controllers(host, refused=refused, offered=frozenset(jobs.CONTROLLERS), installed=False)
    assert finding.level is level
    assert told in finding.seen


def test_without_cgroup_version_2_no_job_starts() -> None:
    host = Host("5.4.2", "v1", frozenset({"cpu", "memory", "pids"}), 65_536, Path("/storage"))
    finding = jobs.controllers(host, refused=True, offered=frozenset(), installed=True)
    assert finding.level is Level.FAIL
    assert "unified_cgroup_hierarchy" in finding.remedy


@pytest.mark.parametrize(
    ("offered", "installed", "told", "untold"),
    [
        ({"cpu", "cpuset", "io", "memory", "pids"}, False, "ml-agent install --system", "The host itself"),
        ({"cpu", "cpuset", "io", "memory", "pids"}, True, "Reboot: the delegation", "ml-agent install"),
        ({"cpu", "pids"}, False, "The host itself has no cpuset io memory.", "ml-agent install"),
        ({"cpu", "pids"}, True, "The host itself has no cpuset io memory.", "Reboot"),
    ],
)
def test_a_missing_installation_a_pending_reboot_and_a_host_without_controllers_are_told_apart(
    offered: set[str], installed: bool, told: str, untold: str
) -> None:
    host = Host("5.4.2", "v2", frozenset({"cpu", "pids"}), 65_536, Path("/storage"))
    finding = jobs.controllers(host, refused=True, offered=frozenset(offered), installed=installed)
    assert told in finding.remedy
    assert untold not in finding.remedy


def test_containers_of_jobs_that_have_ended_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, left = "abcdefghijkl", "mnopqrstuvwx"
    put_on_path(
        tmp_path / "bin", "systemctl", f"echo 'ml-job@{live}.service loaded active running'", monkeypatch
    )
    podman: Any = StandInPodman()
    podman.left = [f"ml-job-{live}", "ml-warehouse"]
    assert asyncio.run(jobs.leftovers(podman)).level is Level.OK
    podman.left.append(f"ml-job-{left}")
    finding = asyncio.run(jobs.leftovers(podman))
    assert finding.level is Level.WARN
    assert finding.seen.endswith(f": ml-job-{left}")
    assert f"`podman rm --force --volumes ml-job-{left}`" in finding.remedy


def test_configuration_of_podman_that_jobs_ignore_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    ignored = ["containers.conf", "containers.conf.d/10.conf", "mounts.conf", "oci/hooks.d/gpu.json"]
    for name in (*ignored, "storage.conf", "oci/hooks.d/README"):
        path = tmp_path / "containers" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path for path in jobs.ignored_by_jobs() if path.is_relative_to(tmp_path)]
    assert found == [tmp_path / "containers" / name for name in ignored]
