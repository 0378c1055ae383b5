"""What a fleet costs: its record with many waiting jobs, and many members over it and a broker.

`python -m tests.bench.fleet`, where redis-server and rabbitmq-server are installed. In the first table,
members are connections of this process, and no broker takes part; besides what they see, it has what Redis
itself takes for a call. Redis flushes each write (`appendfsync always`), except for those that fill it.
"""

import argparse
import asyncio
import logging
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.fleet.record import Record
from agent.scheduling.policy import Room
from tests.bench import fleet_members
from tests.support.fleet_record import GIB, Member, connected, member, new_job
from tests.support.redis_server import RedisServer

DOCUMENT, REQUEST = "x" * 800, "y" * 300  # as long as those of a usual job
AT_ONCE = 16
SUBMISSIONS = 1600
PLACES = 8


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """How many milliseconds the work takes."""
    started = time.perf_counter()
    await work()
    return (time.perf_counter() - started) * 1e3


def percentiles(name: str, milliseconds: list[float]) -> str:
    """A row with the median and the 99th percentile."""
    ordered = sorted(milliseconds)
    middle, high = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"{name:<44} {middle:9.2f} {high:9.2f}"


def of_redis(name: str, server: RedisServer) -> str:
    """The same as Redis has measured it for the functions since its statistics were reset."""
    line = next(each for each in server.cli("info", "latencystats").splitlines() if "usec_fcall:" in each)
    values = dict(part.split("=") for part in line.partition(":")[2].split(","))
    return f"{name:<44} {float(values['p50']) / 1e3:9.2f} {float(values['p99']) / 1e3:9.2f}"


async def submit(record: Record, owner: str) -> None:
    await record.submit(new_job(owner, max_waiting=10**9, document=DOCUMENT, request=REQUEST))


async def fill(server: RedisServer, record: Record, waiting: int, users: int) -> None:
    """Puts the waiting jobs in, the users taking turns."""
    numbers = iter(range(waiting))

    async def some() -> None:
        for number in numbers:
            await submit(record, f"u{number % users:03}")

    server.cli("config", "set", "appendfsync", "everysec")
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    server.cli("config", "set", "appendfsync", "always")


async def claims(server: RedisServer, hosts: list[Member]) -> list[str]:
    """Every host claims until it is full, one claim after the other."""
    server.cli("config", "resetstat")
    owners: Counter[str] = Counter()
    milliseconds = []

    async def claim(host: Member) -> None:
        owners[(await host.claimed()).owner] += 1

    for _ in range(PLACES):
        for host in hosts:
            milliseconds.append(await timed(lambda host=host: claim(host)))  # type: ignore[misc]
    return [
        percentiles("a claim, as a member sees it", milliseconds),
        of_redis("a claim, as Redis takes for it", server),
        f"{'jobs that a user got of these claims':<44} {min(owners.values()):9} {max(owners.values()):9}",
    ]


async def submissions(server: RedisServer, record: Record) -> list[str]:
    """Submissions, so many at once."""
    server.cli("config", "resetstat")
    milliseconds: list[float] = []

    async def some() -> None:
        for _ in range(SUBMISSIONS // AT_ONCE):
            milliseconds.append(await timed(lambda: submit(record, "u000")))

    seconds = await timed(lambda: asyncio.gather(*(some() for _ in range(AT_ONCE)))) / 1e3
    return [
        percentiles(f"a submission, {AT_ONCE} at once", milliseconds),
        of_redis("a submission, as Redis takes for it", server),
        f"{'submissions a second':<44} {SUBMISSIONS / seconds:9.0f}",
    ]


async def of_the_record(waiting: int, users: int, hosts: int) -> None:
    """Prints the table of the record."""
    with (
        tempfile.TemporaryDirectory() as directory,
        RedisServer.running(Path(directory) / "redis") as server,
    ):
        async with connected(server) as record:
            await record.load()
            await fill(server, record, waiting, users)
            room = Room(PLACES, PLACES * 1000, PLACES * GIB)
            members = [await member(record, f"h{number:04}", room) for number in range(hosts)]
            print(f"{waiting} waiting jobs of {users} users, {hosts} hosts of {PLACES} places")
            print(f"{'milliseconds':<44} {'median':>9} {'99 %':>9}")
            for row in (*await claims(server, members), *await submissions(server, record)):
                print(row)
            memory = next(
                line for line in server.cli("info", "memory").splitlines() if "used_memory:" in line
            )
            print(f"{'memory of Redis, MiB':<44} {int(memory.partition(':')[2]) / 2**20:9.0f}")
            print(await returns(server, record))


async def returns(server: RedisServer, record: Record) -> str:
    """How long Redis takes, after it was killed, until it accepts a job again."""
    server.kill()
    began = time.perf_counter()
    await asyncio.to_thread(server.start, 300.0)
    await submit(record, "u000")
    return f"{'Redis is back after a kill, s':<44} {time.perf_counter() - began:9.1f}"


async def main(asked: argparse.Namespace) -> None:
    """Prints both tables."""
    for noisy in ("aio_pika", "aiormq", "ml-fleet", "ml-agent"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    await of_the_record(asked.waiting, asked.users, asked.hosts)
    with tempfile.TemporaryDirectory() as directory:
        rows = fleet_members.table(Path(directory), asked.members, asked.rate, asked.seconds, asked.minutes)
        async for line in rows:
            print(line, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--rate", type=float, default=20.0, help="jobs a second")
    parser.add_argument("--seconds", type=float, default=60.0, help="that jobs come at this rate")
    parser.add_argument("--minutes", type=float, default=10.0, help="over which shares are compared")
    asyncio.run(main(parser.parse_args()))
