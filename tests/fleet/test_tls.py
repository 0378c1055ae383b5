"""Record and broker over TLS 1.3: both sides have certificates of one authority, or nobody is answered."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.errors import AgentError, Problem
from agent.fleet.record import Record
from agent.fleet.record_server import RecordServer
from agent.fleet.tickets import BrokerServer, Publisher, Taker
from agent.host.files import write_file
from agent.identity.authority import Authority
from tests.support.fleet_record import HALF_LIFE, submitted
from tests.support.rabbit_server import RabbitServer
from tests.support.redis_server import RedisServer, free_port
from tests.support.served import Authorities

pytestmark = pytest.mark.host


def files(directory: Path, authority: Authority, trust: Path) -> dict[str, Any]:
    """A client's files, as both servers take them."""
    directory.mkdir()
    issued = authority.issue_client("front-1")
    write_file(directory / "front.crt", issued.certificate_pem(), mode=0o600)
    write_file(directory / "front.key", issued.key_pem(), mode=0o600)
    return {"authority": trust, "certificate": directory / "front.crt", "key": directory / "front.key"}


@pytest.fixture
def ours(tmp_path: Path, authorities: Authorities) -> dict[str, Any]:
    return files(tmp_path / "ours", authorities.own, authorities.directory / "ca.crt")


@pytest.fixture
def others(tmp_path: Path, authorities: Authorities, ours: dict[str, Any]) -> list[dict[str, Any]]:
    """Clients that must not be answered, or must not believe the answer."""
    foreign = files(tmp_path / "foreign", authorities.foreign, authorities.directory / "ca.crt")
    return [
        {"authority": authorities.directory / "ca.crt"},
        foreign,
        ours | {"authority": authorities.directory / "foreign/ca.crt"},
        ours | {"authority": None},
    ]


@pytest.fixture
def redis_url(tmp_path: Path, authorities: Authorities) -> Iterator[str]:
    port = free_port()
    with RedisServer.running(tmp_path / "redis", port=port, tls=authorities.directory):
        yield f"rediss://localhost:{port}"


async def test_the_record_is_for_holders_of_a_certificate(
    redis_url: str, ours: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    async with Record.connected(RecordServer(url=redis_url, **ours), half_life=HALF_LIFE) as record:
        await record.load()
        await submitted(record)
    for wrong in others:
        async with Record.connected(RecordServer(url=redis_url, **wrong), half_life=HALF_LIFE) as record:
            with pytest.raises(AgentError) as refused:
                await record.pending()
            assert refused.value.problem is Problem.HOST


async def test_the_record_must_have_the_name_that_was_asked_for(
    tmp_path: Path, authorities: Authorities, ours: dict[str, Any]
) -> None:
    issued = authorities.own.issue_server(["elsewhere.example.com"])
    directory, port = tmp_path / "elsewhere", free_port()
    directory.mkdir()
    write_file(directory / "ca.crt", (authorities.directory / "ca.crt").read_bytes(), mode=0o600)
    write_file(directory / "server.crt", issued.certificate_pem(), mode=0o600)
    write_file(directory / "server.key", issued.key_pem(), mode=0o600)
    with RedisServer.running(tmp_path / "redis", port=port, tls=directory):
        server = RecordServer(url=f"rediss://localhost:{port}", **ours)
        async with Record.connected(server, half_life=HALF_LIFE) as record:
            with pytest.raises(AgentError, match="certificate verify failed"):
                await record.pending()


async def test_the_broker_is_for_holders_of_a_certificate(
    tmp_path: Path, authorities: Authorities, ours: dict[str, Any], others: list[dict[str, Any]]
) -> None:
    with RabbitServer.running(tmp_path / "rabbit", tls=authorities.directory) as rabbit:
        server = BrokerServer(url=rabbit.url, **ours)
        async with Publisher.connected(server) as publisher, Taker.connected(server) as taker:
            await publisher.declare(["none"])
            await publisher.publish("none")
            ticket = await taker.take(["none"], 10)
            assert ticket is not None
            await ticket.acknowledge()
        for wrong in others:
            async with Publisher.connected(BrokerServer(url=rabbit.url, **wrong)) as publisher:
                with pytest.raises(AgentError) as refused:
                    await publisher.publish("none")
                assert refused.value.problem is Problem.HOST
