"""Moves of aliases: in one order, each on a condition, within bounds, and in the audit."""

import asyncio
import hashlib
import itertools
import random
from collections.abc import Awaitable, Callable

import pytest

from agent.errors import AgentError, Problem
from agent.model.alias import MAX_MOVES, Alias, Condition
from agent.model.base import now
from agent.model.job import JobState, Removal, RetentionRule
from agent.store import aliases
from agent.store.store import Store
from tests.support.alias_scene import ALICE, PATH, AliasScene

WRITERS, MOVES = 20, 4


def seen(version: str) -> Condition:
    return Condition(match=frozenset({version}))


async def refused(work: Awaitable[object], problem: Problem) -> str:
    with pytest.raises(AgentError) as caught:
        await work
    assert caught.value.problem is problem
    return caught.value.message


async def test_an_alias_points_at_the_bytes_that_its_digest_says(scene: AliasScene) -> None:
    content = bytes(range(256)) * 1000
    job = await scene.completed(content)
    alias = await scene.point(job)
    assert alias == await scene.models.resolve("churn", "champion")
    assert (alias.size, alias.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (alias.job_id, alias.path, alias.number, alias.moved_by) == (job.job_id, PATH, 1, "alice")
    named = await scene.models.get("churn")
    assert (named.owner, named.revision, named.aliases) == ("alice", 1, [alias])


async def test_moves_of_twenty_writers_have_one_order(scene: AliasScene) -> None:
    """Writers over two connections, as of two agents, move an alias on what they saw, or on nothing."""
    jobs = [await scene.completed() for _ in range(2 * WRITERS)]
    first = await scene.point(jobs[0])
    done: list[tuple[str | None, Alias]] = []  # what a writer saw, where it insisted on it, and what it made
    late: list[Problem] = []

    async def write(writer: int, other: AliasScene) -> None:
        chance, left = random.Random(writer), MOVES
        while left:
            saw = await other.models.resolve("churn", "champion")
            await asyncio.sleep(chance.random() / 500)
            insists = writer % 2 == 0
            # Of its own two jobs, the one that the alias did not point at: the move changes something.
            job = jobs[2 * writer + (saw.job_id == jobs[2 * writer].job_id)]
            try:
                made = await other.point(job, condition=seen(saw.version) if insists else Condition())
            except AgentError as error:
                late.append(error.problem)
                continue
            done.append((saw.version if insists else None, made))
            left -= 1

    async with Store.open(scene.settings.database) as second, asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(write(writer, scene if writer % 3 else AliasScene(scene.settings, second)))

    history = (await scene.models.history("churn", "champion")).moves[::-1]
    assert [each.number for each in history] == list(range(1, WRITERS * MOVES + 2))
    assert {each.version for each in history} == {first.version, *(alias.version for _, alias in done)}
    before = {after.version: each.version for each, after in itertools.pairwise(history)}
    assert all(saw == before[alias.version] for saw, alias in done if saw)
    assert history[-1] == await scene.models.resolve("churn", "champion")
    rows = await scene.audited("setAlias")
    assert [row["details"]["version"] for row in rows] == [each.version for each in history]
    assert [row["details"]["before"] for row in rows][1:] == [each.version for each in history[:-1]]
    assert set(late) == {Problem.PRECONDITION_FAILED}, "nobody was late, so nothing was tried"


async def test_the_same_move_again_changes_nothing_whatever_its_condition(scene: AliasScene) -> None:
    job, other = await scene.completed(), await scene.completed()
    first = await scene.point(job)
    moved = await scene.point(other, condition=seen(first.version))
    assert await scene.point(other, condition=seen(first.version)) == moved  # its answer was lost
    assert len(await scene.audited("setAlias")) == 2
    assert (await scene.models.get("churn")).revision == 2


@pytest.mark.parametrize(
    ("there", "condition", "moves"),
    [
        (False, Condition(), True),
        (False, Condition(none_match=frozenset("*")), True),
        (False, Condition(none_match=frozenset({"a" * 12})), True),
        (False, Condition(match=frozenset("*")), False),
        (False, seen("a" * 12), False),
        (True, Condition(), True),
        (True, Condition(match=frozenset("*")), True),
        (True, Condition(none_match=frozenset("*")), False),
        (True, seen("a" * 12), False),
        (True, Condition(match=frozenset()), False),
        (True, Condition(none_match=frozenset({"a" * 12})), True),
    ],
)
async def test_a_condition_holds_or_nothing_is_done(
    scene: AliasScene, there: bool, condition: Condition, moves: bool
) -> None:
    before = await scene.point(await scene.completed()) if there else None
    work = scene.point(await scene.completed(), condition=condition)
    if moves:
        assert (await work).number == (2 if there else 1)
        return
    said = await refused(work, Problem.PRECONDITION_FAILED)
    assert "somebody else was faster" in said
    page = await scene.models.page(reader=None, before=None, limit=9)
    assert [each.aliases for each in page.models] == ([[before]] if there else [])
    assert len(await scene.audited("setAlias")) == there


async def test_a_name_belongs_to_who_was_first(scene: AliasScene) -> None:
    await scene.point(await scene.completed())
    job = await scene.completed(owner="bob")
    bob = ALICE.model_copy(update={"actor": "bob"})
    await refused(scene.point(job, owner="bob", by=bob), Problem.FORBIDDEN)
    assert (await scene.point(job, by=bob)).moved_by == "bob"  # in the owner's name, as operators do
    assert (await scene.models.get("churn")).owner == "alice"


async def test_only_what_a_completed_job_has_left_can_be_pointed_at(scene: AliasScene) -> None:
    job = await scene.completed()
    for state in set(JobState) - {JobState.COMPLETED}:
        other = job.model_copy(update={"status": state})
        assert state in await refused(scene.point(other), Problem.NOT_COMPLETED)
    move = scene.models.move("alice", "churn", "champion", job, "no", condition=Condition(), by=ALICE)
    await refused(move, Problem.ARTIFACT_NOT_FOUND)
    await refused(scene.models.get("churn"), Problem.MODEL_NOT_FOUND)


async def test_retention_that_is_faster_than_a_move_is_told(scene: AliasScene) -> None:
    for remove, problem in (
        (scene.store.retention.remove_jobs, Problem.JOB_NOT_FOUND),
        (removed_files(scene), Problem.REMOVED_BY_RETENTION),
    ):
        job = await scene.completed()
        assert await remove([job.job_id]) == [job.job_id]
        await refused(scene.point(job), problem)
    await refused(scene.models.get("churn"), Problem.MODEL_NOT_FOUND)


def removed_files(scene: AliasScene) -> Callable[[list[str]], Awaitable[list[str]]]:
    removal = Removal(at=now(), rule=RetentionRule.AGE)
    return lambda job_ids: scene.store.retention.remove_files(dict.fromkeys(job_ids, removal))


async def test_an_alias_that_is_removed_takes_its_history_and_the_last_one_the_model(
    scene: AliasScene,
) -> None:
    first = await scene.point(await scene.completed())
    await scene.point(await scene.completed(), "challenger")
    models = scene.models
    stale = models.remove("churn", "champion", condition=seen("a" * 12), by=ALICE)
    await refused(stale, Problem.PRECONDITION_FAILED)
    assert await models.remove("churn", "champion", condition=seen(first.version), by=ALICE) == first
    await refused(models.history("churn", "champion"), Problem.ALIAS_NOT_FOUND)
    await refused(models.resolve("churn", "champion"), Problem.ALIAS_NOT_FOUND)
    await refused(
        models.remove("churn", "champion", condition=Condition(), by=ALICE), Problem.ALIAS_NOT_FOUND
    )
    await models.remove("churn", "challenger", condition=Condition(), by=ALICE)
    await refused(models.get("churn"), Problem.MODEL_NOT_FOUND)
    assert [row["subject"] for row in await scene.audited("removeAlias")] == [
        "churn/champion",
        "churn/challenger",
    ]
    job = await scene.completed(owner="bob")
    again = await scene.point(job, owner="bob", by=ALICE.model_copy(update={"actor": "bob"}))
    assert (again.number, again.version == first.version) == (1, False)  # the name is free


async def test_a_history_has_the_newest_moves(scene: AliasScene, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_MOVES == 100
    monkeypatch.setattr(aliases, "MAX_MOVES", 3)
    jobs = [await scene.completed() for _ in range(2)]
    for number in range(6):
        await scene.point(jobs[number % 2])
    assert [each.number for each in (await scene.models.history("churn", "champion")).moves] == [6, 5, 4]


async def test_models_of_a_user_and_aliases_of_a_model_are_bounded(
    scene: AliasScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliases, "MAX_MODELS", 2)
    monkeypatch.setattr(aliases, "MAX_ALIASES", 2)
    job, other = await scene.completed(), await scene.completed()
    for alias in ("a", "b"):
        await scene.point(job, alias)
    assert "2 aliases" in await refused(scene.point(job, "c"), Problem.TOO_MANY_MODELS)
    await scene.point(job, model="other")
    assert "2 models" in await refused(scene.point(job, model="third"), Problem.TOO_MANY_MODELS)
    await scene.point(other, "b")  # which is there already
    bob = ALICE.model_copy(update={"actor": "bob"})
    await scene.point(await scene.completed(owner="bob"), model="third", owner="bob", by=bob)


async def test_a_page_has_what_one_may_read_newest_first(scene: AliasScene) -> None:
    job = await scene.completed()
    bob = ALICE.model_copy(update={"actor": "bob"})
    for model in ("a", "b", "c"):
        await scene.point(job, model=model)
    await scene.point(await scene.completed(owner="bob"), model="d", owner="bob", by=bob)
    models = scene.models
    await models.set_readers("a", aliases.Readers(users=["bob"]), by=ALICE)
    await models.set_readers("b", aliases.Readers(everybody=True), by=ALICE)

    async def listed(reader: str | None) -> list[str]:
        found, before = list[str](), None
        while True:
            page = await models.page(reader=reader, before=before, limit=1)
            found += [each.model for each in page.models]
            if page.next_cursor is None:
                return found
            before = int(page.next_cursor)

    assert await listed(None) == ["d", "c", "b", "a"]
    assert await listed("alice") == ["c", "b", "a"]
    assert await listed("bob") == ["d", "b", "a"]
    assert await listed("carol") == ["b"]
    await models.set_readers("a", aliases.Readers(), by=ALICE)
    await models.set_readers("a", aliases.Readers(), by=ALICE)
    assert await listed("bob") == ["d", "b"]
    rows = await scene.audited("setModelReaders")
    assert [row["details"]["readers"] for row in rows] == [["bob"], ["*"], []]
