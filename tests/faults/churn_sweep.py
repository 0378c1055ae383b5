"""A sweep of the churn script, whose agent is killed at random while it runs.

`python -m tests.faults.churn_sweep` runs as the service account of a host on which `tests/host/host install`
was done: it kills the installed agent, and the trials read the demo's warehouse. Exit status 1 where a
promise was broken.
"""

import argparse
import asyncio
import secrets
import sys
import time
from typing import Any

from agent.cli.job.http import Api
from agent.cli.job.profile import Profile, config_directory
from agent.config_files import load
from agent.model.sweep import TrialPage

from .audit import read_journal
from .report import HEAD, Made
from .site import AgentService
from .sweep_faults import judge_record, swept

METRIC = "log_loss"
REQUEST = {
    "script_name": "boost_churn_model.py",
    "hyperparameters": {"rounds": "40"},
    "space": {
        "learning_rate": {"low": 0.01, "high": 0.5, "log": True},
        "max_leaf_nodes": {"low": 3, "high": 63, "log": True},
        "min_samples_leaf": {"low": 5, "high": 200, "log": True},
    },
    "strategy": "tpe",
    "pruner": "median",
    "at_once": 2,
    "objective": {"metric": METRIC, "direction": "minimize"},
    "seed": 7,
}
SECONDS = 3600.0  # for the whole sweep


async def measured(trials: int, kills: int, ended: str | None) -> bool:
    """Prints what came of it, or of a sweep that has ended; whether every promise was kept."""
    began = time.monotonic()
    profile = Profile.load(config_directory(), server=None, identity=None)
    async with Api(profile) as api, asyncio.timeout(SECONDS):
        if ended:
            known, made = await api.get(f"/sweeps/{ended}"), kills
        else:
            agent, key = AgentService("ml-agent.service"), secrets.token_urlsafe(18)
            known, made = await swept(api, agent, REQUEST | {"trials": trials}, kills, key=key)
        path = f"/sweeps/{known['sweep_id']}/trials"
        found = api.listed(path, "trials", TrialPage, {}, limit=None)
        last = {each["job_id"]: await _last(api, each["job_id"]) async for each in found}
    units = await read_journal("-2h")
    verdict = await judge_record(
        load().database,
        known["sweep_id"],
        trials,
        lambda job_id: len(units[f"ml-job@{job_id}.service"].invocations),
        lambda job_id, _: last[job_id],
    )
    if made < kills:
        verdict.violated(5, f"the sweep has ended after {made} of {kills} kills")
    print(HEAD)
    print(Made("kill -9 while it sweeps churn", made, verdict).row)
    print(f"{known['completed']} completed, {known['pruned']} pruned in {time.monotonic() - began:.0f} s")
    print(f"the best: {METRIC} {known['best']['value']:.4f} with {known['best']['hyperparameters']}")
    for sentences in verdict.violations.values():
        for sentence in sentences:
            print(f"  {sentence}")
    return not any(verdict.violations.values())


async def _last(api: Api, job_id: str) -> float:
    """The last value that a job has reported; not a number where it has none."""
    series = (await api.get(f"/jobs/{job_id}/metrics"))["series"]
    points: list[Any] = next((each["points"] for each in series if each["name"] == METRIC), [])
    return float(points[-1]["value"]) if points else float("nan")


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.churn_sweep", description=__doc__)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--judge", metavar="SWEEP", help="only judge a sweep that has ended")
    given = parser.parse_args()
    return 0 if asyncio.run(measured(given.trials, given.kills, given.judge)) else 1


if __name__ == "__main__":
    sys.exit(main())
