"""The whole run: 3,000 jobs, all parts killed at every point, one host cut off, another one forgotten.

`python -m tests.fleet.harness`, where redis-server and rabbitmq-server are installed. It takes some minutes.
The exit status is 1 where a promise was broken.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer

from .judge import Verdict
from .site import Plan, fleet


async def run(plan: Plan, directory: Path) -> tuple[Verdict, int]:
    """The verdict on one run, and how many members have died."""
    with (
        RedisServer.running(directory / "redis") as redis,
        RabbitServer.running(directory / "rabbit") as rabbit,
    ):
        async with fleet(plan, redis, rabbit, directory) as site:
            return await site.run(), site.deaths


def main() -> int:
    """Runs it with the numbers of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--hosts", type=int, default=8)
    parser.add_argument("--kills", type=int, default=5, help="of each server")
    parser.add_argument("--partition", type=float, default=60.0, help="seconds")
    parser.add_argument("--share", type=float, default=0.05, help="of deaths at each point")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("ml-fleet").setLevel(logging.ERROR)
    for noisy in ("aio_pika", "aiormq"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    plan = Plan(**vars(asked), between=20.0, sleeper=True, twins=True, settle=180.0)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        verdict, deaths = asyncio.run(run(plan, Path(directory)))
    print(f"{plan.jobs} jobs in {time.monotonic() - began:.0f} s, {deaths} deaths of members: {verdict}")
    for words in (*verdict.lost, *verdict.twice, *verdict.late, *verdict.untrue)[:50]:
        print(words)
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
