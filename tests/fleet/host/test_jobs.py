"""Jobs of users of a fleet: they run on some host, once, and are followed wherever they are."""

import asyncio
from collections import Counter

import pytest

from tests.faults.client import Told

from . import layout
from .findings import promises_are_kept
from .handle import Fleet
from .users import Users

pytestmark = pytest.mark.timeout(240)


async def test_a_job_runs_on_some_host_and_says_which(fleet: Fleet, users: Users) -> None:
    told = await users.whole_way(Told("alice", "short.py"))
    await users.read_log(told)
    job = await users.job(told)
    assert (job["status"], job["host"] in layout.HOSTS) == ("COMPLETED", True)
    assert [text for _, text in told.lines][1:] == [str(number) for number in range(1, 21)]
    await promises_are_kept(fleet, told)


async def test_jobs_spread_over_all_hosts_and_each_begins_once(fleet: Fleet, users: Users) -> None:
    told = [Told(user, "steady.py") for user in ("alice", "bob") for _ in range(5)]
    await asyncio.gather(*map(users.whole_way, told))
    ran_on = Counter([(await users.job(each))["host"] for each in told])
    assert set(ran_on) == set(layout.HOSTS), ran_on
    await promises_are_kept(fleet, *told)


async def test_a_failed_job_has_the_exit_status_that_its_host_recorded(fleet: Fleet, users: Users) -> None:
    told = await users.whole_way(Told("bob", "fail.py"))
    job = await users.job(told)
    assert (job["status"], job["reason"], job["exit_status"]) == ("FAILED", "exit-code", 3)
    await promises_are_kept(fleet, told)


async def test_a_followed_log_goes_on_at_another_front_where_it_was(fleet: Fleet, users: Users) -> None:
    told = Told("alice", "steady.py")
    await users.submit(told)
    following = asyncio.create_task(users.follow(told))
    await users.until_it_prints(told)
    await asyncio.to_thread(fleet.kill, users.front_of(told.user), "front")
    await following
    assert users.apis[told.user].moves >= 1
    await promises_are_kept(fleet, told)


async def test_artifacts_come_in_ranges(users: Users) -> None:
    told = await users.whole_way(Told("alice", "short.py"))
    status, whole, _ = await users.fetch(told, "artifacts/nonce")
    assert (status, len(whole)) == (200, 37)
    status, part, span = await users.fetch(told, "artifacts/nonce", Range="bytes=4-7")
    assert (status, part, span) == (206, whole[4:8], "bytes 4-7/37")
    status, _, _ = await users.fetch(told, "artifacts/nonce", Range="bytes=99-")
    assert status == 416


async def test_another_users_job_is_indistinguishable_from_a_missing_one(users: Users) -> None:
    told = await users.whole_way(Told("alice", "short.py"))
    theirs, missing = (Told("bob", "short.py", job_id=job_id) for job_id in (told.job_id, "aaaaaaaaaaaa"))
    for path in ("", "/logs", "/artifacts", "/artifacts/nonce", "/metrics", "/usage"):
        assert await users.refusal(theirs, path) == await users.refusal(missing, path)
