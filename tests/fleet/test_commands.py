"""`ml-fleet hosts`, `drain`, `forget` and `doctor` against a real record and a real broker."""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from agent.cli.failure import EXIT_FAILURE
from agent.cli.fleet import hosts as commands
from agent.cli.fleet import main
from agent.config_files import load
from agent.fleet import member
from agent.fleet.entries import HostReport
from agent.fleet.record import Record
from tests.support import ml_agent
from tests.support.fleet_record import HOST, Member, connected, submitted
from tests.support.ml_agent import Run
from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.host

T = TypeVar("T")
REPORT = HostReport(
    capacity=HOST,
    url="https://localhost:1",
    networks=("none",),
    versions={"agent": "1.0"},
    image_digest="sha256:" + "1" * 64,
)


@pytest.fixture
def run(
    tmp_path: Path,
    shared_redis: RedisServer,
    rabbit: RabbitServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """`ml-fleet` on the machine of a front whose record and broker are empty."""
    home = tmp_path / "home"
    home.mkdir()
    ml_agent.make_account(home, monkeypatch)
    run = ml_agent.runner(monkeypatch, capsys, main.main)
    assert run("init", "--san", "localhost", "--network", "wide").status == 0
    file = home / ".config/ml-agent/config.toml"
    text = re.sub(r'url = "rediss.*"', f'url = "{shared_redis.url}"', file.read_text())
    text = re.sub(r'url = "amqps.*"', f'url = "{rabbit.url}"', text)
    file.write_text(re.sub(r"password_file = .*\n", "", text))
    shared_redis.cli("flushall")
    shared_redis.cli("function", "flush")
    yield run
    for queue in ("fleet.none", "fleet.wide"):
        rabbit.ctl("delete_queue", queue)


@pytest.fixture
def asked(run: Run, shared_redis: RedisServer) -> Callable[[Callable[[Record], Awaitable[T]]], T]:
    """What a coroutine does with the record, which has been made ready."""
    assert "made  the functions in Redis, and the queues" in run("init").out

    def ask(work: Callable[[Record], Awaitable[T]]) -> T:
        async def connect() -> T:
            async with connected(shared_redis) as record:
                return await work(record)

        return asyncio.run(connect())

    return ask


Asked = Callable[[Callable[[Record], Awaitable[Any]]], Any]


def joined(name: str = "h1", **changes: Any) -> Callable[[Record], Awaitable[Any]]:
    return lambda record: record.join(name, replace(REPORT, **changes))


def listed(run: Run) -> dict[str, dict[str, Any]]:
    return {row["host"]: row for row in json.loads(run("hosts", "--json").out)}


def test_hosts_are_listed_with_what_they_are(run: Run, asked: Asked) -> None:
    assert run("hosts").out == ""
    asked(joined())
    row = listed(run)["h1"]
    assert (row["state"], row["jobs"], row["max_running"], row["agent"]) == ("ready", 0, HOST.jobs, "1.0")
    assert row["silent_seconds"] < 5
    assert "h1\tready" in run("hosts").out


def test_a_host_is_drained_and_no_longer(run: Run, asked: Asked) -> None:
    asked(joined())
    assert run("drain", "h1").status == 0
    assert listed(run)["h1"]["state"] == "draining"
    assert run("drain", "h1", "--undo").status == 0
    assert listed(run)["h1"]["state"] == "ready"
    for arguments in (["drain", "h9"], ["drain", "h9", "--undo"], ["forget", "h9", "--yes"]):
        refused = run(*arguments)
        assert refused.status == EXIT_FAILURE
        assert "There is no host h9" in refused.err
    audit = json.loads(ml_agent_audit(run))
    assert [(row["action"], row["subject"]) for row in audit if "Host" in row["action"]] == [
        ("drainHost", "h1"),
        ("undrainHost", "h1"),
    ]


def ml_agent_audit(run: Run) -> str:
    """The audit of the front, as `ml-agent audit` shows it."""
    from agent.store.store import Store

    async def newest() -> str:
        async with Store.open(load().database) as store:
            return json.dumps([row.content() for row in await store.audit.newest(limit=10)])

    return asyncio.run(newest())


@pytest.fixture
def lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease that is over soon."""
    monkeypatch.setattr(member, "LEASE", 0.2)
    monkeypatch.setattr(commands, "MARGIN", 0.3)


async def with_jobs(record: Record) -> dict[str, str]:
    """Claims of h1: one that is tried again, one that is not, one whose end was asked for."""
    host = await Member(record, "h1").join()
    found = {}
    for kind, fields in {"again": {"max_attempts": 2, "again": True}, "once": {}, "cancelled": {}}.items():
        found[kind] = await submitted(record, **fields)
        await host.claimed()
    await record.cancel(found["cancelled"])
    return found


def test_a_host_that_is_there_is_not_given_up(run: Run, asked: Asked) -> None:
    jobs = asked(with_jobs)
    refused = run("forget", "h1", "--yes")
    assert refused.status == EXIT_FAILURE
    assert "must be silent for 10 s" in refused.err
    assert asked(lambda record: record.job(jobs["once"]))["state"] == "claimed"


def test_a_lost_host_is_given_up_and_its_jobs_are_named(run: Run, asked: Asked, lease: None) -> None:
    jobs = asked(with_jobs)
    time.sleep(0.6)
    done = run("forget", "h1", "--yes")
    assert done.status == 0, done.err
    assert f"{jobs['again']}  waits for another host: attempt 2 of 2" in done.out
    assert f"{jobs['once']}  ends FAILED (interrupted)" in done.out
    assert f"{jobs['cancelled']}  ends CANCELLED" in done.out
    states = {kind: asked(lambda record, job_id=job_id: record.job(job_id)) for kind, job_id in jobs.items()}
    assert {kind: (job["state"], job["status"]) for kind, job in states.items()} == {
        "again": ("waiting", "PENDING"),
        "once": ("ended", "FAILED"),
        "cancelled": ("ended", "CANCELLED"),
    }
    assert listed(run)["h1"]["state"] == "forgotten"


def test_whoever_does_not_agree_changes_nothing(
    run: Run, asked: Asked, lease: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = asked(with_jobs)
    time.sleep(0.6)
    monkeypatch.setattr("sys.stdin", __import__("io").StringIO("n\n"))
    assert run("forget", "h1").status == 1
    assert asked(lambda record: record.job(jobs["once"]))["state"] == "claimed"


def test_a_host_is_barred_and_then_given_up(run: Run, asked: Asked, lease: None) -> None:
    jobs = asked(with_jobs)
    barred = run("bar", "h1")
    assert barred.status == 0, barred.err
    assert "rabbitmqctl delete_user member-h1" in barred.out
    assert listed(run)["h1"]["state"] == "barred"
    time.sleep(0.6)
    assert run("forget", "h1", "--yes").status == 0
    assert asked(lambda record: record.job(jobs["again"]))["state"] == "waiting"
    assert listed(run)["h1"]["state"] == "barred"
    assert "answer h1 again" in run("bar", "h1", "--undo").out
    assert listed(run)["h1"]["state"] == "forgotten"
    assert run("bar", "h9").status == EXIT_FAILURE


# The doctor


def found(run: Run) -> dict[str, list[dict[str, str]]]:
    """Its findings by subject."""
    by_subject: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(run("doctor", "--json").out):
        by_subject.setdefault(finding["subject"], []).append(finding)
    return by_subject


def level(findings: dict[str, list[dict[str, str]]], subject: str) -> str:
    (only,) = findings[subject]
    assert (only["level"] == "ok") == (only["remedy"] == ""), only
    return only["level"]


def test_a_sound_fleet(run: Run, asked: Asked) -> None:
    asked(joined())
    findings = found(run)
    for subject in (
        "record",
        "appendonly",
        "appendfsync",
        "no-appendfsync-on-rewrite",
        "maxmemory-policy",
        "functions",
        "replica",
        "clocks",
        "broker",
        "alarms",
        "queue fleet.none",
        "queue fleet.wide",
        "hosts",
        "images",
        "agents",
    ):
        assert level(findings, subject) == "ok", findings[subject]
    assert {each["level"] for each in findings["certificate"]} == {"ok"}
    assert "does not answer" in findings["host h1"][0]["seen"]  # there is none


@pytest.mark.parametrize(
    ("setting", "value"),
    [("appendfsync", "everysec"), ("maxmemory-policy", "allkeys-lru"), ("appendonly", "no")],
)
def test_a_broken_rule_of_redis_is_named(
    run: Run, asked: Asked, shared_redis: RedisServer, setting: str, value: str
) -> None:
    before = shared_redis.cli("config", "get", setting).splitlines()[-1]
    shared_redis.cli("config", "set", setting, value)
    try:
        findings = found(run)
    finally:
        shared_redis.cli("config", "set", setting, before)
    assert level(findings, setting) == "fail"
    assert findings[setting][0]["seen"].startswith(value)
    assert level(findings, "broker") == "ok"


def test_missing_functions_and_queues_are_named(
    run: Run, asked: Asked, shared_redis: RedisServer, rabbit: RabbitServer
) -> None:
    shared_redis.cli("function", "flush")
    rabbit.ctl("delete_queue", "fleet.wide")
    findings = found(run)
    assert level(findings, "functions") == "warn"
    assert (level(findings, "queue fleet.none"), level(findings, "queue fleet.wide")) == ("ok", "fail")
    assert level(findings, "hosts") == "fail"
    run("init")


def test_an_alarm_of_the_broker_is_told(run: Run, asked: Asked, rabbit: RabbitServer) -> None:
    rabbit.ctl("set_vm_memory_high_watermark", "0.00001")
    try:
        findings = found(run)
    finally:
        rabbit.ctl("set_vm_memory_high_watermark", "0.6")
    assert level(findings, "alarms") == "fail"
    assert level(findings, "queue fleet.none") == "ok"


def test_silent_and_differing_hosts_are_named(
    run: Run, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.cli.fleet import doctor

    asked(joined())
    monkeypatch.setattr(doctor, "SILENT", 0.2)
    time.sleep(0.3)
    asked(joined("h2", image_digest="sha256:" + "2" * 64, versions={"agent": "2.0"}))
    findings = found(run)
    assert "ml-fleet forget h1" in findings["host h1"][0]["remedy"]
    assert "ml-fleet forget" not in findings["host h2"][0]["remedy"]
    assert level(findings, "images") == "warn"
    assert findings["agents"][0]["seen"] == "1.0: h1; 2.0: h2"


def test_every_check_runs_where_nothing_answers(run: Run, asked: Asked, home_configuration: Path) -> None:
    text = home_configuration.read_text()
    text = re.sub(r'url = "unix.*"', 'url = "redis://localhost:1"', text)
    home_configuration.write_text(re.sub(r'url = "amqp:.*"', 'url = "amqp://localhost:1"', text))
    findings = found(run)
    for subject in ("record", "broker", "hosts"):
        assert level(findings, subject) == "fail"
    assert run("doctor").status == EXIT_FAILURE


@pytest.fixture
def home_configuration(run: Run) -> Path:
    from agent.config import user_file

    return user_file()


def test_a_certificate_that_expires_soon_is_named(
    run: Run, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from agent.cli.fleet import doctor

    monkeypatch.setattr(doctor, "WARN", timedelta(days=400))
    by_level = {each["seen"].split(",")[0]: each["level"] for each in found(run)["certificate"]}
    assert by_level["front"] == "warn"
    assert by_level["authority"] == "ok"
