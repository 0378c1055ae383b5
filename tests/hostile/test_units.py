"""A hostile request's unit, as the host's own Quadlet compiles it: but for tokens, a harmless one's."""

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.config import shipped
from agent.model.base import unit_name
from agent.runtime.quadlet import TEMPLATE, Compiler
from tests.support.api_client import Client
from tests.support.served import Served

from .corpus import VALUES
from .extent import SLICES
from .packed import everywhere, named, packed
from .received import received, without_tokens

UNITS_AT_ONCE = 50  # that systemd-analyze looks at


@pytest.mark.host
@pytest.mark.timeout(1800)
async def test_every_text_everywhere_makes_the_unit_of_a_harmless_job(
    served: Served, alice: Client, told: Callable[[str], None], tmp_path: Path
) -> None:
    compiler = Compiler(shipped("quadlets") / TEMPLATE, [], tmp_path / "scratch")
    units = tmp_path / "units"
    units.mkdir()

    async def compiled(**body: Any) -> list[str]:
        job = await alice.submit(**body)
        plan = (await received(served.jobs, job)).plan
        text = await compiler.compile(plan)
        (units / unit_name(plan.job_id)).write_text(text)
        return without_tokens(text, plan)

    harmless = await compiled()
    bodies = [everywhere("succeed.py", text) for text in VALUES[::SLICES]]
    bodies += [*packed("succeed.py", VALUES), named("succeed.py", VALUES)]
    for body in bodies:
        assert await compiled(**body) == harmless, body
    paths = sorted(units.iterdir())
    for at in range(0, len(paths), UNITS_AT_ONCE):
        await verify(paths[at : at + UNITS_AT_ONCE])
    told(f"units compiled and verified: {len(paths)}, 0 differences")


async def verify(units: list[Path]) -> None:
    """systemd finds nothing to say about any of them."""
    command = ["systemd-analyze", "--user", "verify", *map(str, units)]
    found = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
