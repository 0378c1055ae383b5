"""The steps at which the agent is killed are functions of the code as it is, and each dies where it says."""

import asyncio
import inspect
from typing import Any

import pytest

from tests.faults import killing
from tests.faults.killing import RETRY_STEPS, STEPS, Step, trap


@pytest.mark.parametrize("name", [*STEPS, *RETRY_STEPS])
def test_a_step_is_a_function_of_the_agent(name: str) -> None:
    step = (STEPS | RETRY_STEPS)[name]
    # What follows a step that is awaited follows its end, not its beginning.
    is_awaited = inspect.iscoroutinefunction(getattr(step.owner, step.function))
    assert is_awaited is (step.function != "read_record")


class Owner:
    """Has a function that says when it has run."""

    ran: list[str] = []  # noqa: RUF012 (one class a test)

    async def function(self) -> str:
        self.ran.append("function")
        return "done"


@pytest.mark.parametrize(("after", "ran"), [(False, []), (True, ["function"])])
async def test_the_agent_dies_before_or_after_the_function(
    monkeypatch: pytest.MonkeyPatch, after: bool, ran: list[str]
) -> None:
    class DiedError(Exception):
        pass

    def die(name: str) -> None:
        assert name == "a step"
        raise DiedError

    owner: Any = type("Owner", (Owner,), {"ran": []})
    monkeypatch.setattr(killing, "_die_at", die)
    trap("a step", Step(owner, "function", after=after))
    with pytest.raises(DiedError):
        await asyncio.wait_for(owner().function(), 1)
    assert owner.ran == ran
