"""A sweep of trials by TPE with the median pruner, whose agent is killed at random while it runs."""

import asyncio
import json
import random
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.cli.failure import Failure, Refused
from agent.cli.job.http import Api
from agent.model.sweep import Sweep, TrialResult
from agent.store.sweeps import Asked, Step, Told
from agent.sweeps.optimizer import Optimizer

from .agent_faults import EARLY, KILL_PAUSE
from .audit import Verdict
from .report import Made
from .site import USERS, AgentService, Site

AT_ONCE = 3
REQUEST = {
    "script_name": "sweep.py",
    "space": {
        "x": {"type": "integer", "low": 0, "high": 100},
        "y": {"type": "integer", "low": 0, "high": 100},
    },
    "strategy": "tpe",
    "pruner": "median",
    "at_once": AT_ONCE,
    "objective": {"metric": "loss", "direction": "minimize"},
    "seed": 7,
}
SECONDS = 1200.0  # for the whole sweep


async def killed_while_it_sweeps(site: Site, *, trials: int, kills: int) -> AsyncIterator[Made]:
    """Kills the agent again and again until the sweep has ended, and holds the sweep to what it promises."""
    async with Api(site.profile(USERS[0])) as api, asyncio.timeout(SECONDS):
        known, made = await swept(api, site, REQUEST | {"trials": trials}, kills)
    verdict = await judge(site, known, trials)
    if made < kills:
        verdict.violated(5, f"the sweep has ended after {made} of {kills} kills")
    yield Made("kill -9 while it sweeps", made, verdict)


async def swept(
    api: Api, agent: AgentService, request: object, kills: int, *, key: str = "sweep"
) -> tuple[dict[str, Any], int]:
    """The sweep when it has ended, and how often the agent was killed meanwhile. Tells how far it is."""
    made = 0
    known = await _patiently(api, "POST", "/sweeps", request, key=key)
    while known["status"] in ("RUNNING", "ENDING"):
        await asyncio.sleep(random.uniform(*KILL_PAUSE))
        if made < kills:
            if random.random() > EARLY:
                await agent.wait_until_up(lambda: False)
            await agent.forgive()
            made += await agent.kill(signal.SIGKILL)
        known = await _patiently(api, "GET", f"/sweeps/{known['sweep_id']}")
        said = f"{known['completed']} completed, {known['pruned']} pruned of {known['made']} trials"
        print(f"{said}, {made} kills", file=sys.stderr, flush=True)
    return known, made


async def _patiently(api: Api, method: str, path: str, body: object = None, *, key: str = "") -> Any:
    """The answer, however often the agent is killed meanwhile; a repeated submission has one key."""
    while True:
        try:
            return await (api.get(path) if method == "GET" else api.post(path, body, key=key))
        except Failure as failure:
            if isinstance(failure, Refused) and failure.status < 500:
                raise
            await asyncio.sleep(0.1)


async def judge(site: Site, known: dict[str, Any], trials: int) -> Verdict:
    """Holds a sweep that has ended, and each of its trials, to the promises."""

    def runs(job_id: str) -> int:
        nonce = site.nonce(job_id)
        return len(nonce.read_text().splitlines()) if nonce.exists() else 0

    def value(_: str, chosen: dict[str, str]) -> float:
        return loss(chosen)

    return await judge_record(site.state / "jobs.db", known["sweep_id"], trials, runs, value)


async def judge_record(
    database: Path,
    sweep_id: str,
    trials: int,
    runs: Callable[[str], int],
    value: Callable[[str, dict[str, str]], float],
) -> Verdict:
    """Holds the record of a minimizing sweep that has ended to the promises.

    `runs` says how often a job has run, `value` what a completed one with these hyperparameters has reported.
    """
    verdict = Verdict()
    verdict.jobs = trials
    sweep, rows, jobs = read(database, sweep_id)
    if sweep.status != "COMPLETED" or sweep.made != trials or len(rows) != trials:
        verdict.violated(1, f"{sweep.status} with {sweep.made} trials and {len(rows)} rows, of {trials}")
    if {job_id for _, job_id, *_ in rows} != jobs:
        verdict.violated(2, f"{len(jobs)} jobs of the sweep, and {len(rows)} trials")
    completed = []
    for trial, job_id, hyperparameters, _, _, result in rows:
        if runs(job_id) != 1:
            verdict.violated(2, f"trial {trial} ran {runs(job_id)} times")
        told = TrialResult.model_validate_json(result)
        if told.status == "COMPLETED":
            reported = value(job_id, json.loads(hyperparameters))
            completed.append(reported)
            if told.value != reported:
                verdict.violated(3, f"trial {trial} has the value {told.value}, not {reported}")
    if sweep.best is None or sweep.best.value != min(completed, default=None):
        verdict.violated(3, f"the best is {sweep.best}, not {min(completed, default=None)}")
    await judge_suggestions(verdict, sweep, rows)
    return verdict


def read(database: Path, sweep_id: str) -> tuple[Sweep, list[Any], set[str]]:
    """A sweep, the rows of its trials in order, and the ids of its jobs."""
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute(
            "SELECT trial, job_id, hyperparameters, asked, told, result FROM trials WHERE sweep_id = ?"
            " ORDER BY trial",
            (sweep_id,),
        ).fetchall()
        jobs = {job_id for (job_id,) in db.execute("SELECT id FROM jobs WHERE sweep = ?", (sweep_id,))}
        (document,) = db.execute("SELECT document FROM sweeps WHERE id = ?", (sweep_id,)).fetchone()
    return Sweep.model_validate_json(document), rows, jobs


def loss(chosen: dict[str, str]) -> float:
    """What the script reports last."""
    return (int(chosen["x"]) - 30) ** 2 + (int(chosen["y"]) - 70) ** 2 + 80


async def judge_suggestions(verdict: Verdict, sweep: Sweep, rows: list[Any]) -> None:
    """An agent that is never killed suggests the same, for the same seed and order of results."""
    steps: list[tuple[int, Step]] = []
    for trial, _, hyperparameters, asked, told, result in rows:
        steps.append((asked, Asked(json.loads(hyperparameters))))
        steps.append((told, Told(trial, TrialResult.model_validate_json(result))))
    ordered = [step for _, step in sorted(steps, key=lambda each: each[0])]
    taken = 0

    async def steps_of(_: str, after: int) -> list[Step]:
        return ordered[after:taken]

    optimizer = Optimizer(steps_of)
    try:
        for taken, step in enumerate(ordered):
            if isinstance(step, Asked):
                found = await optimizer.ask(sweep)
                if found != step.hyperparameters:
                    verdict.violated(3, f"step {taken}: {step.hyperparameters}, and without kills {found}")
    finally:
        await optimizer.close()
