"""What a host itself knows of the jobs that ran on it, for those who hold the fleet's answers to it.

    python -m tests.fleet.host.facts

Runs as the service account of a host. Prints JSON: by job id, the agent's record, the nonces and the exit
record of each attempt, and what the journal has of the unit. Asks no agent.
"""

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.faults.audit import Left, Seen, read_journal, read_left, read_record

STATE = Path.home() / ".local/state/ml-agent"


async def facts(state: Path) -> dict[str, dict[str, Any]]:
    """By job id."""
    rows, _ = read_record(state)
    journal = await read_journal("-3h")
    return {
        job_id: {
            "record": record,
            "left": [asdict(each) for each in read_left(state / "jobs" / job_id / "attempts")],
            "starts": journal[f"ml-job@{job_id}.service"].starts,
            "invocations": sorted(journal[f"ml-job@{job_id}.service"].invocations),
        }
        for job_id, record in rows.items()
    }


def seen(fact: dict[str, Any]) -> tuple[list[Left], Seen]:
    """Attempts and journal of one job, from the printed JSON."""
    return [Left(**each) for each in fact["left"]], Seen(fact["starts"], set(fact["invocations"]))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(facts(STATE))))
