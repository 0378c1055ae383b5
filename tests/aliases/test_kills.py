"""An agent that dies within a move of an alias: the move is done with its row of the audit, or it is not."""

import pytest

from agent.model.alias import Alias, Condition
from tests.support.alias_scene import ALICE, AliasScene
from tests.support.killing import killed_in


async def consistent(scene: AliasScene) -> list[Alias]:
    """The history, the oldest first. Fails where the alias, the audit and what is kept say anything else."""
    history = (await scene.models.history("churn", "champion")).moves[::-1]
    assert history[-1] == await scene.models.resolve("churn", "champion")
    rows = await scene.audited("setAlias")
    assert [row["details"]["version"] for row in rows] == [each.version for each in history]
    kept = await scene.store.database.run(lambda db: db.execute("SELECT job_id FROM aliases").fetchall())
    assert kept == [(history[-1].job_id,)]
    return history


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_kill_at_any_step_of_a_move_leaves_it_done_or_not(scene: AliasScene, after: bool) -> None:
    saw, step, killed = await scene.point(await scene.completed()), 0, True
    while killed:
        step += 1
        job = await scene.completed()
        condition = Condition(match=frozenset({saw.version}))

        async def move() -> None:
            await scene.point(job, condition=condition)  # noqa: B023

        killed = await killed_in(scene.store.database, move, step, after=after)
        history = await consistent(scene)
        moved = history[-1].job_id == job.job_id
        assert moved == (after or not killed)
        again = await scene.point(job, condition=condition)  # as a client does that got no answer
        assert (await consistent(scene))[-1] == again
        assert again.number == step + 1
        saw = again
    assert step == 2, "a move is one transaction"


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_kill_while_an_alias_is_removed_leaves_all_of_it_or_nothing(
    scene: AliasScene, after: bool
) -> None:
    await scene.point(await scene.completed())

    async def remove() -> None:
        await scene.models.remove("churn", "champion", condition=Condition(), by=ALICE)

    assert await killed_in(scene.store.database, remove, 1, after=after)
    if not after:
        await consistent(scene)
        await remove()
    left = await scene.store.database.run(
        lambda db: [
            db.execute(f"SELECT * FROM {table}").fetchall() for table in ("models", "aliases", "alias_moves")
        ]
    )
    assert left == [[], [], []]
    assert len(await scene.audited("removeAlias")) == 1
