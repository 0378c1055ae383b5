"""`ml-job host`."""

from aiohttp import web

from tests.support.ml_job import ml_job
from tests.support.stand_in_agent import StandIn

HOST = {
    "versions": {"agent": "0.1.0", "systemd": "257"},
    "capacity": {"jobs": 4, "cpus": 8.0, "memory_bytes": 16 * 2**30},
    "in_use": {"jobs": 1, "cpus": 1.5, "memory_bytes": 2**30},
    "waiting": 7,
    "running": 1,
    "users": [{"user": "alice", "waiting": 7, "running": 1, "recent_use_seconds": 12.5}],
}


def test_capacity_use_and_queue_are_shown(agent: StandIn) -> None:
    agent.answers["GET /host"] = [web.json_response(HOST)]
    assert ml_job("host").stdout.splitlines() == [
        "versions\tagent 0.1.0, systemd 257",
        "running\t1 of 4",
        "CPUs\t1.5 of 8",
        "memory\t1.0 GiB of 16.0 GiB",
        "waiting\t7",
        "alice\t7\t1\t12.5",
    ]
