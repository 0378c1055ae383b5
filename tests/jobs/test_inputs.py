"""Artifacts of earlier jobs as inputs: which bytes a job gets, and what stops it."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.host.machine import Room
from agent.jobs import inputs as inputs_module
from agent.model.alias import Condition
from agent.model.inputs import MAX_INPUTS, JobInput, RequestedInput
from agent.model.job import Job, JobRequest, JobState, Reason, Rerun
from agent.model.readers import Readers
from agent.runtime.unit import volumes
from agent.service import JobParts
from tests.support.alias_scene import ALICE
from tests.support.artifacts import list_of
from tests.support.job_host import Host
from tests.support.job_scene import FAILURE, Scene, driving, end_of, starts_again, submit
from tests.support.jobs import let_ages_begin, make_job, refused_fields
from tests.support.small_site import with_jobs
from tests.support.waiting import until

MODEL = b"\x80\x04model" * 1000
SHA256 = hashlib.sha256(MODEL).hexdigest()


async def leaves(scene: Scene, jobs: JobParts, path: str = "model.joblib", data: bytes = MODEL) -> Job:
    """A job that has left this artifact and COMPLETED."""
    job = await scene.start(jobs)
    return await finish(scene, jobs, job, path, data)


async def finish(
    scene: Scene, jobs: JobParts, job: Job, path: str = "model.joblib", data: bytes = MODEL
) -> Job:
    place = scene.attempt(job).artifacts / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    scene.ends(jobs, job)
    return await end_of(jobs, job)


def wanted(job: Job, path: str = "model.joblib") -> dict[str, Any]:
    return {"model": RequestedInput(job_id=job.job_id, path=path)}


async def reader(scene: Scene, jobs: JobParts, upstream: Job, **fields: Any) -> Job:
    """A job that systemd was asked to start, with the model of the other one as its input."""
    return await scene.start(jobs, inputs=wanted(upstream), **fields)


def copy_of(scene: Scene, job: Job) -> Path:
    return scene.attempt(job).inputs / "model"


async def refused(jobs: JobParts, request: JobRequest, owner: str = "alice") -> dict[str, str]:
    with pytest.raises(AgentError) as caught:
        await jobs.submission.submit(owner, request)
    assert caught.value.problem is Problem.INVALID_REQUEST
    return {each.field: each.message for each in caught.value.fields}


async def test_a_job_gets_a_copy_of_the_recorded_bytes_read_only(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await leaves(scene, jobs)
        job = await reader(scene, jobs, upstream)
        settled = JobInput(job_id=upstream.job_id, path="model.joblib", size=len(MODEL), sha256=SHA256)
        assert job.inputs == {"model": settled}
        copy, artifact = copy_of(scene, job), scene.attempt(upstream).artifacts / "model.joblib"
        assert copy.read_bytes() == MODEL
        assert copy.stat().st_mode & 0o777 == 0o400
        assert copy.stat().st_ino != artifact.stat().st_ino
        artifact.write_bytes(b"changed after the start")
        assert copy.read_bytes() == MODEL
    assert f"{copy.parent}:/inputs:ro" in volumes(scene.compiler.compiled[-1])


async def test_a_job_without_inputs_has_no_such_directory(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        job = await scene.start(jobs)
    assert not scene.attempt(job).inputs.exists()
    assert not [volume for volume in volumes(scene.compiler.compiled[-1]) if "/inputs" in volume]


def _link(path: Path, to: Path) -> None:
    path.unlink()
    path.symlink_to(to)


def _same_size(path: Path, _: Path) -> None:
    path.write_bytes(bytes(len(MODEL)))


def _shorter(path: Path, _: Path) -> None:
    path.write_bytes(MODEL[:-1])


def _gone(path: Path, _: Path) -> None:
    path.unlink()


def _fifo(path: Path, _: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _directory(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


def _parent_is_a_link(path: Path, to: Path) -> None:
    (to.parent / path.name).write_bytes(MODEL)  # the right bytes, at the wrong place
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to(to.parent)


IS_GONE, IS_CHANGED = "is not there.", f"does not have the SHA-256 {SHA256} any more."


@pytest.mark.parametrize(
    ("tamper", "why"),
    [
        (_same_size, IS_CHANGED),
        (_shorter, IS_CHANGED),
        (_gone, IS_GONE),
        (_link, IS_GONE),
        (_fifo, IS_GONE),
        (_directory, IS_GONE),
        (_parent_is_a_link, IS_GONE),
    ],
)
async def test_an_artifact_that_was_tampered_with_stops_the_job_and_says_so(
    soon: Scene, tmp_path: Path, tamper: Callable[[Path, Path], None], why: str
) -> None:
    secret = tmp_path / "elsewhere" / "secret"
    secret.parent.mkdir()
    secret.write_bytes(MODEL)
    async with driving(soon.jobs()) as jobs:
        upstream = await leaves(soon, jobs, "models/model.joblib")
        blocker = await soon.start(jobs)
        job = await submit(
            jobs,
            inputs=wanted(upstream, "models/model.joblib"),
            after=[blocker.job_id],
            max_attempts=3,
            retry_on=[Reason.START_FAILED],
        )
        tamper(soon.attempt(upstream).artifacts / "models/model.joblib", secret)
        soon.ends(jobs, blocker)
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.FAILED, Reason.INPUT, 1)
    message = f"Input model: the artifact models/model.joblib of job {upstream.job_id} {why}"
    assert (ended.message or "").startswith(message)
    assert job.unit not in soon.units.started
    assert list(soon.attempt(job).inputs.iterdir()) == []


async def test_an_artifact_that_has_grown_is_read_as_far_as_the_record_says(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await leaves(scene, jobs)
        with (scene.attempt(upstream).artifacts / "model.joblib").open("ab") as file:
            file.write(b"more")
        assert copy_of(scene, await reader(scene, jobs, upstream)).read_bytes() == MODEL


async def test_with_after_an_input_is_settled_when_that_job_has_ended(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await scene.start(jobs)
        job = await submit(jobs, inputs=wanted(upstream), after=[upstream.job_id])
        assert job.inputs["model"].sha256 is None
        await finish(scene, jobs, upstream)
        await until(lambda: job.unit in scene.units.started)
        assert (await jobs.registry.get(job.job_id)).inputs["model"].sha256 == SHA256
        assert copy_of(scene, job).read_bytes() == MODEL


async def test_a_job_that_completes_without_the_artifact_ends_the_one_that_waits_for_it(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await scene.start(jobs)
        job = await submit(jobs, inputs=wanted(upstream), after=[upstream.job_id])
        await finish(scene, jobs, upstream, "other.joblib")
        ended = await end_of(jobs, job)
    assert (ended.status, ended.reason) == (JobState.CANCELLED, Reason.DEPENDENCY)
    where = f"the artifact model.joblib of job {upstream.job_id}"
    assert ended.message == f"Input model: {where} is not there."


async def test_a_large_input_that_comes_late_ends_the_job(scene: Scene) -> None:
    scene.settings = with_jobs(scene.settings, max_input_bytes=2**10)
    async with driving(scene.jobs()) as jobs:
        upstream = await scene.start(jobs)
        job = await submit(jobs, inputs=wanted(upstream), after=[upstream.job_id])
        await finish(scene, jobs, upstream)
        ended = await end_of(jobs, job)
    assert (ended.reason, "have 6.83 KiB together" in (ended.message or "")) == (Reason.DEPENDENCY, True)


async def test_inputs_that_cannot_be_had_are_refused_by_their_names(scene: Scene) -> None:
    scene.settings = with_jobs(scene.settings, max_input_bytes=len(MODEL) - 1)
    async with driving(scene.jobs()) as jobs:
        done, running = await leaves(scene, jobs), await scene.start(jobs)
        theirs = await jobs.submission.submit("bob", JobRequest(script_name="succeed.py"))
        absent = make_job().job_id

        def named(job_id: str, path: str = "model.joblib") -> RequestedInput:
            return RequestedInput(job_id=job_id, path=path)

        request = JobRequest(
            script_name="succeed.py",
            inputs={
                "a": named(theirs.job_id),
                "b": named(absent),
                "c": named(running.job_id),
                "d": named(done.job_id, "nope"),
                "e": named(done.job_id, "../../../jobs.db"),
                "f": named(done.job_id),
            },
        )
        no_job = "must be a job that you may read; {} is none"
        missing = f"the artifact {{}} of job {done.job_id} is not there."
        assert await refused(jobs, request) == {
            "inputs.a.job_id": no_job.format(theirs.job_id),
            "inputs.b.job_id": no_job.format(absent),
            "inputs.c.job_id": "must be a job that has COMPLETED or is in `after`;"
            f" {running.job_id} is CREATED",
            "inputs.d.path": "Input d: " + missing.format("nope"),
            "inputs.e.path": "Input e: " + missing.format("../../../jobs.db"),
        }
        request = JobRequest(script_name="succeed.py", inputs={"f": named(done.job_id)})
        assert list(await refused(jobs, request)) == ["inputs"]


async def test_the_next_agent_replaces_what_a_killed_one_had_copied_in_part(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await leaves(scene, jobs)
        blocker = await scene.start(jobs)
        job = await submit(jobs, inputs=wanted(upstream), after=[blocker.job_id])
        copies = scene.attempt(job).inputs
        copies.mkdir(parents=True)
        (copies / ".model").write_bytes(MODEL[:10])
        (copies / "model").write_bytes(MODEL[:20])
        scene.ends(jobs, blocker)
        await until(lambda: job.unit in scene.units.started)
        assert [(each.name, each.read_bytes()) for each in copies.iterdir()] == [("model", MODEL)]


async def test_a_copy_that_is_whole_is_not_made_again(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await leaves(scene, jobs)
        scene.units.refuses = AgentError(Problem.HOST, "systemd is busy.")
        job = await submit(jobs, inputs=wanted(upstream))
        before = (await until(lambda: copy_of(scene, job).exists() and copy_of(scene, job))).stat()
        (scene.attempt(upstream).artifacts / "model.joblib").unlink()
        scene.units.refuses = None
        await until(lambda: job.unit in scene.units.started)
        assert copy_of(scene, job).stat().st_ino == before.st_ino


async def test_each_attempt_gets_the_bytes_anew_and_the_one_before_keeps_none(soon: Scene) -> None:
    async with driving(soon.jobs()) as jobs:
        upstream = await leaves(soon, jobs)
        job = await reader(soon, jobs, upstream, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        first = soon.attempt(job).inputs
        soon.ends(jobs, job, FAILURE)
        second = await starts_again(soon, jobs, job)
        await until(lambda: copy_of(soon, second).exists())
        assert not first.exists()


async def test_a_rerun_gets_the_same_bytes_when_the_artifact_is_gone(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await leaves(scene, jobs)
        job = await reader(scene, jobs, upstream)
        scene.ends(jobs, job)
        job = await end_of(jobs, job)
        (scene.attempt(upstream).artifacts / "model.joblib").write_bytes(b"other bytes")
        again = await jobs.submission.rerun("alice", job, Rerun())
        assert again.inputs == job.inputs
        await until(lambda: again.unit in scene.units.started)
        assert copy_of(scene, again).read_bytes() == MODEL


async def test_a_rerun_is_refused_once_the_bytes_are_nowhere(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await leaves(scene, jobs)
        job = await reader(scene, jobs, upstream)
        scene.ends(jobs, job)
        job = await end_of(jobs, job)
        copy_of(scene, job).unlink()
        assert (await jobs.submission.rerun("alice", job, Rerun())).inputs == job.inputs
        scene.attempt(upstream).manifest.unlink()
        (scene.attempt(upstream).artifacts / "model.joblib").unlink()
        with pytest.raises(AgentError) as caught:
            await jobs.submission.rerun("alice", job, Rerun())
    assert caught.value.problem is Problem.INPUT_MISSING


async def test_retention_leaves_what_is_needed_alone_until_the_job_has_ended(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        upstream = await leaves(scene, jobs)
        job = await reader(scene, jobs, upstream)
        await scene.store.jobs.mark_archived(upstream.job_id)
        await let_ages_begin(scene.store)
        assert await scene.store.retention.removable([upstream.job_id]) == []
        scene.ends(jobs, job)
        await end_of(jobs, job)
        (found,) = await scene.store.retention.removable([upstream.job_id])
        assert found.job_id == upstream.job_id


async def test_a_job_waits_until_there_is_room_for_its_inputs(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [Room(len(MODEL) + 99, 9999)]
    async with driving(scene.jobs()) as jobs:
        upstream = await leaves(scene, jobs)
        monkeypatch.setattr(inputs_module, "room_left", lambda _: (left[0], Room(100, 0)))
        monkeypatch.setattr("agent.jobs.reconciler.LOOK_DELAY", 0.05)
        job = await submit(jobs, inputs=wanted(upstream))
        await until(lambda: scene.attempt(job).description.exists())
        assert not copy_of(scene, job).exists()
        left[0] = Room(len(MODEL) + 100, 9999)
        await until(lambda: job.unit in scene.units.started)


def of_alias(alias: str = "champion", model: str = "churn") -> dict[str, Any]:
    return {"model": RequestedInput(model=model, alias=alias)}


async def point(jobs: JobParts, job: Job) -> None:
    """Points alice's champion at the model of the job."""
    await jobs.models.move("alice", "churn", "champion", job, "model.joblib", condition=Condition(), by=ALICE)


async def test_an_alias_is_looked_up_when_the_job_is_accepted_and_never_again(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        champion = await leaves(scene, jobs)
        await point(jobs, champion)
        job = await scene.start(jobs, inputs=of_alias())
        found = job.inputs["model"]
        assert (found.job_id, found.path, found.sha256) == (champion.job_id, "model.joblib", SHA256)
        assert (found.model, found.alias, found.size) == ("churn", "champion", len(MODEL))
        assert copy_of(scene, job).read_bytes() == MODEL
        scene.ends(jobs, job)
        job = await end_of(jobs, job)
        await point(jobs, await leaves(scene, jobs, data=b"a better one"))
        again = await jobs.submission.rerun("alice", job, Rerun())
        await until(lambda: again.unit in scene.units.started)
        assert copy_of(scene, again).read_bytes() == MODEL


async def test_a_reader_of_a_model_uses_it_without_seeing_its_job(scene: Scene) -> None:
    async with driving(scene.jobs()) as jobs:
        champion = await leaves(scene, jobs)
        await point(jobs, champion)
        by_alias = JobRequest(script_name="succeed.py", inputs=of_alias())
        wrong = JobRequest(script_name="succeed.py", inputs=of_alias(model="absent"))
        message = "must be a model that you may read; {} is none"
        assert await refused(jobs, by_alias, "bob") == {"inputs.model.model": message.format("churn")}
        assert await refused(jobs, wrong, "bob") == {"inputs.model.model": message.format("absent")}
        await jobs.models.set_readers("churn", Readers(users=["bob"]), by=ALICE)
        job = await jobs.submission.submit("bob", by_alias)
        await until(lambda: job.unit in scene.units.started)
        assert copy_of(scene, job).read_bytes() == MODEL
        by_job = JobRequest(script_name="succeed.py", inputs=wanted(champion))
        assert list(await refused(jobs, by_job, "bob")) == ["inputs.model.job_id"]
        none = JobRequest(script_name="succeed.py", inputs=of_alias("challenger"))
        assert await refused(jobs, none, "bob") == {
            "inputs.model.alias": "must be an alias of churn; challenger is none"
        }


def test_an_input_is_an_artifact_or_an_alias_and_not_both() -> None:
    artifact, alias = {"job_id": "a" * 12, "path": "x"}, {"model": "churn", "alias": "champion"}
    for body in ({}, artifact | alias, {"job_id": "a" * 12}, {"model": "churn"}, artifact | {"alias": "x"}):
        assert refused_fields(inputs={"a": body}) == ["inputs.a"]
    assert refused_fields(inputs={"a": alias | {"model": "A"}}) == ["inputs.a.model"]


def test_a_name_is_one_file_and_a_list_has_a_bound() -> None:
    there = {"job_id": "a" * 12, "path": "x"}
    for name in ("", ".", "..", ".hidden", "a/b", "a\0b", "a b", "é", "x" * 65):
        assert refused_fields(inputs={name: there}) == [f"inputs.{name}.[key]"]
    assert refused_fields(inputs={f"i{number}": there for number in range(MAX_INPUTS + 1)}) == ["inputs"]
    assert refused_fields(inputs={"a": {"job_id": "a" * 12, "path": "x\ny"}}) == ["inputs.a.path"]
    kept = JobRequest.model_validate({"script_name": "a", "inputs": {"model-1.joblib": there}})
    assert list(kept.inputs) == ["model-1.joblib"]


@pytest.mark.host
async def test_a_real_job_reads_exactly_the_bytes_and_writes_none(host: Host) -> None:
    upstream = await host.end_of(await host.submit("succeed.py"))
    (artifact,) = (await list_of(host.jobs.results, upstream)).artifacts
    job = await host.submit("inputs.py", inputs=wanted(upstream, artifact.path))
    ended = await host.end_of(job)
    log = [text for text, _ in await host.whole_log(job)]
    assert ended.status is JobState.COMPLETED, log
    assert ended.inputs["model"].sha256 == artifact.sha256
    assert (host.attempt(job).artifacts / "read").read_bytes() == b"result\n"
    assert [line for line in log if line.startswith("see /inputs/m")] == ["see /inputs/model"]
    assert "nothing was written" in log
    assert [each.name for each in host.attempt(job).inputs.iterdir()] == ["model"]
    assert (host.attempt(job).inputs / "model").read_bytes() == b"result\n"


@pytest.mark.host
async def test_a_real_job_does_not_start_with_an_artifact_that_was_tampered_with(host: Host) -> None:
    upstream = await host.end_of(await host.submit("succeed.py"))
    blocker = await host.submit("wait.py")
    job = await host.submit(
        "inputs.py", inputs=wanted(upstream, "result.txt"), after=[blocker.job_id], max_attempts=2
    )
    (host.attempt(upstream).artifacts / "result.txt").write_text("forged\n")
    await host.running(blocker)
    (host.attempt(blocker).artifacts / "go").touch()
    ended = await host.end_of(job)
    assert (ended.status, ended.reason, ended.attempt) == (JobState.FAILED, Reason.INPUT, 1)
    assert "does not have the SHA-256" in (ended.message or "")
    assert ended.started_at is None
    assert not (host.attempt(job).artifacts / "read").exists()


@pytest.mark.host
@pytest.mark.parametrize("path", ["link", "etc/passwd", "inner/up/result.txt", "inner"])
async def test_what_a_hostile_job_has_left_beside_its_files_is_no_input(host: Host, path: str) -> None:
    upstream = await host.end_of(await host.submit("lure.py"))
    request = JobRequest(script_name="inputs.py", inputs=wanted(upstream, path))
    assert list(await refused(host.jobs, request)) == ["inputs.model.path"]
