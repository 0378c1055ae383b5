"""The pruner over a real store, real directories and real snapshots; systemd and Podman are stand-ins."""

import asyncio
import contextlib
import json
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.config import RetentionSettings, Settings
from agent.errors import AgentError, Problem
from agent.host.machine import read_clocks
from agent.host.systemd import UnitState
from agent.host.tasks import background
from agent.host.trees import measure, remove
from agent.model.base import new_job_id, now, unit_name
from agent.model.inputs import Limits
from agent.model.job import Job, JobState, Reason, RetentionRule
from agent.model.retention import Moment
from agent.retention import pruner as pruner_module
from agent.retention.pruner import Pruned, Pruner, Stage
from agent.scripts.snapshots import Snapshots
from agent.store.store import Store
from tests.support.git_repository import commit
from tests.support.jobs import let_ages_begin
from tests.support.small_site import make_repository, make_settings
from tests.support.waiting import until

DAY = 24.0  # hours
PRUNE = [
    sys.executable,
    "-c",
    """
import asyncio, time
from agent.retention import pruner
from agent.cli.admin.prune import opened
from agent.config_files import load

remove = pruner.remove

def slowly(root, limit):
    time.sleep(0.005)
    return remove(root, 10)

pruner.remove = slowly

async def prune():
    async with opened(load()) as work:
        async for _ in work.prune():
            pass

asyncio.run(prune())
""",
]


@dataclass
class StandInUnits:
    """A manager that knows some units, and what it was asked to forget."""

    states: dict[str, UnitState] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    refuses: AgentError | None = None

    async def state(self, name: str) -> UnitState:
        if self.refuses:
            raise self.refuses
        return self.states.get(name, UnitState())

    async def forget(self, name: str) -> None:
        self.forgotten.append(name)


@dataclass
class StandInPodman:
    """A Podman whose images have only the name that the agent gave them."""

    kept: set[str] = field(default_factory=set)
    refuses: AgentError | None = None

    async def is_only_kept(self, name: str, digest: str) -> bool:
        if self.refuses:
            raise self.refuses
        return digest in self.kept

    async def drop_kept(self, name: str, digest: str) -> None:
        self.kept.remove(digest)


@dataclass
class Scene:
    """Finished jobs of any age."""

    settings: Settings
    store: Store
    units: StandInUnits = field(default_factory=StandInUnits)
    podman: StandInPodman = field(default_factory=StandInPodman)

    def pruner(self, **rules: Any) -> Pruner:
        retention = RetentionSettings(**({"at_least_hours": 0} | rules))
        settings = self.settings.model_copy(update={"retention": retention})
        units: Any = self.units
        podman: Any = self.podman
        return Pruner(settings, self.store, units, self.snapshots, podman)

    @property
    def snapshots(self) -> Snapshots:
        scripts = self.settings.scripts
        return Snapshots(scripts.repository, scripts.directory, self.settings.state_directory / "snapshots")

    def unit_file(self, job: Job) -> Path:
        return self.settings.runtime_directory / "systemd/user" / job.unit

    def files(self, job: Job) -> Path:
        return self.settings.paths_of(job.job_id).directory

    async def job(
        self,
        hours: float,
        *,
        size: int = 0,
        files: int = 0,
        ended: bool = True,
        archived: bool = True,
        ran: bool = True,
        **values: Any,
    ) -> Job:
        """A job that ended this many hours ago, with its unit file and its directory."""
        job_id = new_job_id()
        job = Job(
            job_id=job_id,
            status=JobState.PENDING,
            script_name="succeed.py",
            hyperparameters={},
            limits=Limits(memory_bytes=2**26, cpus=1, tasks=5, run_time_seconds=60),
            script_sha256="1" * 64,
            image="localhost/image:latest",
            network="none",
            unit=unit_name(job_id),
            created_at=now() - timedelta(hours=hours),
            **({"owner": "alice", "commit": "0" * 40, "image_digest": ""} | values),
        )
        await self.store.jobs.add(job, idempotency_key=job_id, fingerprint="f", max_waiting=1000)
        artifacts = self.files(job) / "attempts/1/artifacts"
        artifacts.mkdir(parents=True)
        (artifacts / "model").write_bytes(b"x" * size)
        for number in range(files):
            (artifacts / str(number)).touch()
        self.unit_file(job).parent.mkdir(parents=True, exist_ok=True)
        self.unit_file(job).touch()
        if not ended:
            return job
        update = {"status": JobState.FAILED, "reason": Reason.EXIT_CODE, "revision": 2}
        at = now() - timedelta(hours=hours)
        job = job.model_copy(update=update | {"finished_at": at, "started_at": at if ran else None})
        assert await self.store.jobs.update(job)
        if archived:
            await self.store.jobs.mark_archived(job_id)
        await let_ages_begin(self.store)
        return job

    async def state(self, job: Job) -> str:
        """What is left of a job."""
        known = await self.store.jobs.get(job.job_id)
        parts = {
            "unit": self.unit_file(job).exists(),
            "files": self.files(job).exists(),
            "removed": known is not None and known.removed is not None,
            "record": known is not None,
        }
        return " ".join(name for name, there in parts.items() if there)


ALL = "unit files record"


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    make_repository(tmp_path / "repository")
    settings = make_settings(tmp_path, runtime=tmp_path / "runtime")
    monkeypatch.setattr(pruner_module, "MAX_PAUSE", 0)
    async with Store.open(settings.database) as store:
        yield Scene(settings, store)


async def pruned(pruner: Pruner) -> list[Pruned]:
    return [one async for one in pruner.prune()]


async def test_a_job_goes_in_stages(scene: Scene) -> None:
    young, unit, files, record = [await scene.job(hours) for hours in (1, 2 * DAY, 91 * DAY, 366 * DAY)]
    went = await pruned(scene.pruner())
    assert [await scene.state(job) for job in (young, unit, files, record)] == [
        ALL,
        "files record",
        "removed record",
        "",
    ]
    assert [(one.stage, one.name, one.rule) for one in went if one.stage is not Stage.UNIT] == [
        (Stage.JOB, record.job_id, RetentionRule.AGE),
        (Stage.FILES, files.job_id, RetentionRule.AGE),
    ]
    assert sorted(scene.units.forgotten) == sorted(job.unit for job in (unit, files, record))
    removed = await scene.store.jobs.get(files.job_id)
    assert removed is not None
    assert removed.removed is not None
    assert removed.removed.rule is RetentionRule.AGE
    assert removed.revision == files.revision + 1
    assert removed.model_copy(update={"removed": None, "revision": 2}) == files


async def test_the_idempotency_key_is_removed_with_the_record(scene: Scene) -> None:
    files, record = await scene.job(91 * DAY), await scene.job(366 * DAY)
    await pruned(scene.pruner())
    assert await scene.store.jobs.by_key("alice", record.job_id, "f") is None
    known = await scene.store.jobs.by_key("alice", files.job_id, "f")
    assert known is not None
    assert known.job_id == files.job_id


async def test_the_oldest_files_are_removed_until_the_rest_fits(scene: Scene) -> None:
    jobs = [await scene.job(hours, size=1_000_000) for hours in (4, 3, 2, 1)]
    pruner = scene.pruner(max_bytes=2_200_000)
    went = await pruned(pruner)
    assert [await scene.state(job) for job in jobs] == ["removed record"] * 2 + [ALL] * 2
    assert {one.rule for one in went} == {RetentionRule.BYTES}
    assert sum(one.bytes for one in went) > 2_000_000
    assert (await pruner.kept()).bytes <= 2_200_000
    assert await pruned(pruner) == []


async def test_surplus_jobs_are_removed_oldest_first(scene: Scene) -> None:
    jobs = [await scene.job(hours) for hours in range(40, 0, -1)]
    await pruned(scene.pruner(max_jobs=3, max_units=2, unit_hours=100))
    assert [await scene.state(job) for job in jobs] == [""] * 37 + ["files record"] + [ALL] * 2


@dataclass(frozen=True)
class Flood:
    """What alice makes, to have another user's results removed; and the bound that it exceeds."""

    stage: Stage
    jobs: int
    values: dict[str, Any]
    rules: dict[str, int]


FLOODS = {
    "units": Flood(Stage.UNIT, 30, {}, {"max_units": 10}),
    "units, never ran": Flood(Stage.UNIT, 30, {"ran": False}, {"max_units": 10}),
    "records": Flood(Stage.JOB, 30, {}, {"max_jobs": 10}),
    "records, never ran": Flood(Stage.JOB, 30, {"ran": False}, {"max_jobs": 10}),
    "large records": Flood(Stage.JOB, 5, {"name": "x" * 400_000}, {"max_record_bytes": 2**20}),
    "bytes": Flood(Stage.FILES, 3, {"size": 400_000}, {"max_bytes": 600_000}),
    "files": Flood(Stage.FILES, 3, {"files": 200}, {"max_files": 300}),
    "many small logs and artifacts": Flood(Stage.FILES, 30, {"size": 10_000}, {"max_bytes": 200_000}),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_what_one_user_makes_removes_nothing_of_another(scene: Scene, kind: str) -> None:
    flood = FLOODS[kind]
    # The victim's are the oldest of all, and within an equal share.
    victims = [await scene.job(30 + n, owner="bob", size=1000) for n in range(3)]
    own = await scene.job(20, size=1000)
    made = [await scene.job(10 + n / 100, **flood.values) for n in range(flood.jobs)]
    rules = {"unit_hours": 1000, "max_units": 1000, "max_bytes": 10**9, "max_files": 10**6}
    went = await pruned(scene.pruner(**(rules | flood.rules)))
    assert {one.stage for one in went} == {flood.stage}
    assert {one.name for one in went} <= {job.job_id for job in (own, *made)}
    assert [await scene.state(job) for job in victims] == [ALL] * 3
    if not flood.values.get("ran", True):  # nor does it cost alice what has run
        assert await scene.state(own) == ALL
    assert await pruned(scene.pruner(**(rules | flood.rules))) == []


async def test_a_clock_that_jumps_ahead_by_a_year_removes_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = [await scene.job(hours) for hours in (1, 80 * DAY)]
    pruner, ahead = (
        scene.pruner(unit_hours=90 * DAY),
        replace(await read_clocks(ask=False), synchronised=False),
    )
    ahead = replace(ahead, wall=ahead.wall + 365 * DAY * 3600)

    async def jumped(*, ask: bool = True) -> Moment:
        return ahead

    monkeypatch.setattr(pruner_module, "read_clocks", jumped)
    assert await pruned(pruner) == await pruner.plan() == []
    assert [await scene.state(job) for job in jobs] == [ALL] * 2
    assert "Nothing confirms 365.0 days" in pruner.doubt
    assert caplog.text.count("Nothing confirms") == 1
    # Eleven days of the same boot count, whatever the wall clock says.
    ahead = replace(ahead, boot=ahead.boot + 11 * DAY * 3600)
    assert {one.name for one in await pruned(pruner)} == {jobs[1].job_id}
    # A synchronised clock is believed after the next boot.
    ahead = replace(ahead, boot=60.0, boot_id="next", synchronised=True)
    went = {one.name for one in await pruned(pruner)}
    assert (went, pruner.doubt) == ({job.job_id for job in jobs}, "")


async def test_the_age_of_a_job_begins_when_it_is_first_seen_to_have_ended(scene: Scene) -> None:
    job = await scene.job(400 * DAY)
    await scene.store.database.run(lambda db: db.execute("UPDATE jobs SET ages_from = NULL"))
    assert await pruned(scene.pruner()) == []
    assert await scene.state(job) == ALL


@pytest.mark.parametrize(
    "values", [{"ended": False}, {"archived": False}, {"pinned": True}], ids=lambda v: next(iter(v))
)
async def test_active_pinned_and_unarchived_jobs_are_kept(scene: Scene, values: dict[str, bool]) -> None:
    job = await scene.job(1000 * DAY, size=10_000, **values)
    rules = {"max_jobs": 0, "max_bytes": 0, "max_units": 0, "files_days": 0, "record_days": 0}
    assert await pruned(scene.pruner(**rules)) == []
    assert await scene.state(job) == ALL


async def test_only_the_unit_is_removed_in_the_first_hours(scene: Scene) -> None:
    job = await scene.job(2, size=10_000)
    rules = {"max_jobs": 0, "max_bytes": 0, "files_days": 0, "record_days": 0}
    assert await pruned(scene.pruner(at_least_hours=3, **rules)) == []
    assert await scene.state(job) == ALL
    # Its unit is not protected: systemd reads the file whenever another job starts.
    await pruned(scene.pruner(at_least_hours=3, max_units=0, **rules))
    assert await scene.state(job) == "files record"
    assert len(await pruned(scene.pruner(at_least_hours=1, **rules))) == 1


async def test_the_plan_lists_what_is_removed_then_and_changes_nothing(scene: Scene) -> None:
    jobs = [await scene.job(hours * DAY, size=500_000) for hours in (400, 300, 80, 3, 2, 0.5)]
    pruner = scene.pruner(max_bytes=1_100_000)
    plan = await pruner.plan()
    assert [await scene.state(job) for job in jobs] == [ALL] * 6
    assert sorted(map(str, plan)) == sorted(map(str, await pruned(pruner)))
    assert [await scene.state(job) for job in jobs] == ["", *["removed record"] * 3, "files record", ALL]


async def test_an_unpinned_job_is_subject_to_retention_again(scene: Scene) -> None:
    job = await scene.job(100 * DAY)
    await scene.store.jobs.pin(job.job_id, pinned=True, limit=1)
    await pruned(scene.pruner())
    assert await scene.state(job) == ALL
    await scene.store.jobs.pin(job.job_id, pinned=False, limit=1)
    await pruned(scene.pruner())
    assert await scene.state(job) == "removed record"


async def test_a_job_pinned_just_before_its_removal_is_kept(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await scene.job(100 * DAY)
    remove_files = scene.store.retention.remove_files

    async def pinned_before(*arguments: Any) -> list[str]:
        await scene.store.jobs.pin(job.job_id, pinned=True, limit=1)
        return await remove_files(*arguments)

    monkeypatch.setattr(scene.store.retention, "remove_files", pinned_before)
    assert await pruned(scene.pruner()) == []
    assert await scene.state(job) == "files record"


async def test_a_unit_that_has_not_ended_keeps_its_job(scene: Scene) -> None:
    job = await scene.job(1000 * DAY)
    scene.units.states[job.unit] = UnitState(active_state="deactivating")
    assert await pruned(scene.pruner()) == []
    assert await scene.state(job) == ALL


async def test_without_a_manager_only_jobs_without_a_unit_are_removed(scene: Scene) -> None:
    waits, goes = await scene.job(100 * DAY), await scene.job(100 * DAY)
    scene.unit_file(goes).unlink()
    scene.units.refuses = AgentError(Problem.HOST, "The user manager does not answer on D-Bus.")
    await pruned(scene.pruner())
    assert [await scene.state(job) for job in (waits, goes)] == [ALL, "removed record"]


async def test_units_of_other_agents_are_left_alone(scene: Scene) -> None:
    await scene.job(1000 * DAY)
    foreign = scene.settings.runtime_directory / "systemd/user" / unit_name(new_job_id())
    foreign.touch()
    await pruned(scene.pruner())
    assert [path.name for path in foreign.parent.iterdir()] == [foreign.name]


@pytest.mark.parametrize("hours", [100 * DAY, 400 * DAY])
async def test_the_next_agent_finishes_a_removal_that_a_killed_one_began(
    scene: Scene, hours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await scene.job(hours)

    def killed(root: Path, limit: int) -> bool:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(pruner_module, "remove", killed)
        with pytest.raises(RuntimeError):
            await pruned(scene.pruner())
    # The record has changed, and the files are still there.
    assert await scene.state(job) in ("files", "files removed record")
    await pruned(scene.pruner())
    assert not scene.files(job).exists()
    assert await scene.store.retention.pending_deletions() == []


async def test_a_directory_that_cannot_be_deleted_delays_no_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, goes = await scene.job(101 * DAY), await scene.job(100 * DAY)

    def refused(root: Path, limit: int) -> bool:
        if root == scene.files(stays):
            raise PermissionError("not yours")
        return remove(root, limit)

    monkeypatch.setattr(pruner_module, "remove", refused)
    await pruned(scene.pruner())
    assert (scene.files(stays).exists(), scene.files(goes).exists()) == (True, False)
    assert await scene.store.retention.pending_deletions() == [stays.job_id]
    monkeypatch.undo()
    await pruned(scene.pruner())
    assert not scene.files(stays).exists()


async def test_two_pruners_at_once_remove_each_job_once(scene: Scene) -> None:
    jobs = [await scene.job(100 * DAY) for _ in range(60)]
    went = await asyncio.gather(*(pruned(scene.pruner()) for _ in range(2)))
    files = [one.name for each in went for one in each if one.stage is Stage.FILES]
    assert sorted(files) == sorted(job.job_id for job in jobs)


async def test_an_image_is_removed_with_the_last_job_that_ran_it(scene: Scene) -> None:
    old, shared, current = (f"sha256:{digit * 64}" for digit in "abc")
    for digest in (old, old, shared, current):
        await scene.job(366 * DAY, image_digest=digest)
    await scene.job(1, image_digest=shared)
    scene.podman.kept = {old, shared}
    pruner = scene.pruner()
    planned = [one.name for one in await pruner.plan() if one.stage is Stage.IMAGE]
    assert scene.podman.kept == {old, shared}
    went = [one.name for one in await pruned(pruner) if one.stage is Stage.IMAGE]
    assert planned == went == [old]
    assert scene.podman.kept == {shared}


async def test_without_podman_jobs_are_removed_and_their_image_is_kept(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    job = await scene.job(366 * DAY, image_digest=f"sha256:{'a' * 64}")
    scene.podman.refuses = AgentError(Problem.HOST, "Podman does not answer.")
    assert [one.stage for one in await pruned(scene.pruner())] == [Stage.JOB]
    assert await scene.state(job) == ""
    assert "localhost/image:kept-aaaaaaaaaaaa stays" in caplog.text


async def test_a_snapshot_is_removed_with_the_last_job_that_ran_it(scene: Scene) -> None:
    snapshots, repository = scene.snapshots, scene.settings.scripts.repository
    first = await snapshots.resolve()
    (repository / "scripts/another.py").touch()
    second = commit(repository)
    for each in (first, second):
        await snapshots.tree(each)
    await scene.job(1, commit=second)
    await scene.job(400 * DAY, commit=first)
    await scene.job(100 * DAY, commit=second)
    went = await pruned(scene.pruner())
    assert [one.name for one in went if one.stage is Stage.SNAPSHOT] == [first]
    assert os.listdir(scene.settings.state_directory / "snapshots") == [second]


async def test_an_error_ends_only_the_round(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = await scene.job(100 * DAY)
    monkeypatch.setattr(pruner_module, "START_DELAY", 0)
    monkeypatch.setattr(pruner_module, "INTERVAL", 0)
    calls = 0

    def fails_once(root: Path, stop: threading.Event) -> tuple[int, int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("out of luck")
        return measure(root, stop)

    monkeypatch.setattr(pruner_module, "measure", fails_once)

    async def gone() -> bool:
        return await scene.state(job) == "removed record"

    async with background(scene.pruner().run()):
        await until(gone)
    assert "out of luck" in caplog.text


async def test_units_are_removed_between_two_full_rounds(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruner_module, "START_DELAY", 0)
    monkeypatch.setattr(pruner_module, "INTERVAL", 0.01)
    monkeypatch.setattr(pruner_module, "UNIT_ROUNDS", sys.maxsize)
    pruner, rounds = scene.pruner(max_units=1), 0
    prune = pruner.prune

    def counted() -> AsyncGenerator[Pruned]:
        nonlocal rounds
        rounds += 1
        return prune()

    monkeypatch.setattr(pruner, "prune", counted)

    async def begun() -> bool:
        return rounds == 1

    async with background(pruner.run()):
        await until(begun)
        older, newer = await scene.job(2), await scene.job(1)

        async def gone() -> bool:
            return await scene.state(older) == "files record"

        await until(gone)
    assert await scene.state(newer) == ALL
    assert rounds == 1


async def at_work(scene: Scene, process: asyncio.subprocess.Process, left_to_it: set[str]) -> bool:
    pending = set(await scene.store.retention.pending_deletions())
    return process.returncode is not None or not pending <= left_to_it


async def test_a_killed_pruner_leaves_no_recorded_job_with_half_of_its_files(
    scene: Scene,
) -> None:
    jobs = [await scene.job(hours * DAY, size=10) for hours in (400, 100) for _ in range(50)]
    for job in jobs:
        scene.unit_file(job).unlink()
        for number in range(20):
            (scene.files(job) / f"attempts/1/artifacts/{number}").touch()
    environment = os.environ | {
        "ML_AGENT_STATE_DIRECTORY": str(scene.settings.state_directory),
        "ML_AGENT_RUNTIME_DIRECTORY": str(scene.settings.runtime_directory),
        "ML_AGENT_SCRIPTS": json.dumps({"repository": str(scene.settings.scripts.repository)}),
        "ML_AGENT_CONFIG": os.devnull,
    }
    code, kills, cut_short = -1, 0, 0
    leaving: set[str] = set()
    while code != 0:
        process = await asyncio.create_subprocess_exec(*PRUNE, env=environment)
        if kills < 6:
            # It is at work once there is a pending deletion that its predecessor did not leave.
            await until(partial(at_work, scene, process, leaving))
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            kills += 1
        code = await process.wait()
        leaving = set(await scene.store.retention.pending_deletions())
        for job in jobs:
            known, left = await scene.store.jobs.get(job.job_id), len(list(scene.files(job).rglob("*")))
            if known is not None and known.removed is None:
                assert left == 24  # three directories and 21 files
            elif left or scene.files(job).exists():
                assert job.job_id in leaving
                cut_short += 1
    assert cut_short  # or nobody was killed at work
    assert not any(scene.files(job).exists() for job in jobs)
    assert [await scene.store.jobs.get(job.job_id) is None for job in jobs] == [True] * 50 + [False] * 50
    assert await scene.store.retention.pending_deletions() == []
