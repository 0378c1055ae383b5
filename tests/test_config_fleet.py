"""The table `[fleet]`, and that every key of the configuration is documented."""

import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from agent.config import Settings
from agent.config_files import load
from agent.config_fleet import FleetSettings
from agent.errors import AgentError, FieldError, Problem
from agent.model.inputs import Limits

PAGE = Path(__file__).parent.parent / "docs/configuration.md"
BROKER = '[fleet.broker]\nurl = "amqps://mq.example.com/?auth=EXTERNAL"\n'
RECORD = '[fleet.record]\nurl = "rediss://front@redis.example.com:6379"\n'
FRONT = '[fleet.front]\nname = "front-1"\ncertificate = "/f.crt"\nkey = "/f.key"\n'
MEMBER = """[fleet.member]
fronts = ["https://f1.example.com"]
agent_url = "https://h1.example.com:8443"
certificate = "/m.crt"
key = "/m.key"
"""
HOST = '[fleet]\nhost = "h1"\nauthority = "/ca.crt"\n'


@pytest.fixture(autouse=True)
def _no_settings_of_the_caller(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [*os.environ]:
        if variable.startswith(("ML_AGENT_", "XDG_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))


def loaded(directory: Path, fleet: str, site: str = "") -> FleetSettings | None:
    """The fleet's table of a configuration."""
    file = directory / "config.toml"
    file.write_text(f'[scripts]\nrepository = "/srv/training"\n{site}{fleet}')
    return load([file]).fleet


def refused(directory: Path, fleet: str, site: str = "") -> FieldError:
    """The one thing that is wrong, without the file's name in its place."""
    with pytest.raises(AgentError) as caught:
        loaded(directory, fleet, site)
    assert caught.value.problem is Problem.CONFIGURATION
    (only,) = caught.value.fields
    return FieldError(only.field.partition(": ")[2], only.message)


def test_without_the_table_there_is_no_fleet(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") is None


def test_a_name_alone_lets_the_host_trust_the_fleet_and_runs_nothing(tmp_path: Path) -> None:
    fleet = loaded(tmp_path, '[fleet]\nhost = "h1"\n')
    assert fleet is not None
    assert (fleet.host, fleet.front, fleet.member) == ("h1", None, None)


def test_a_front_and_a_member_have_their_defaults(tmp_path: Path) -> None:
    port = "[fleet.front.http]\nport = 9443\n"
    fleet = loaded(tmp_path, HOST + RECORD + BROKER + FRONT + port + MEMBER)
    assert fleet is not None
    assert fleet.front is not None
    assert fleet.member is not None
    assert fleet.record is not None
    assert fleet.front.state_directory == tmp_path / ".local/state/ml-fleet"
    assert (fleet.front.http.port, fleet.front.http.max_followers) == (9443, 1000)
    assert fleet.record.replicas == 0


@pytest.mark.parametrize(
    ("fleet", "place", "message"),
    [
        ("[fleet]\n", "fleet", "says nothing: name this host with host"),
        ('[fleet]\nhots = "h1"\n', "fleet.hots", "is no setting; did you mean host?"),
        (HOST + RECORD + "replica = 1\n", "fleet.record.replica", "did you mean replicas?"),
        (HOST + BROKER + MEMBER + 'agent_uri = "x"\n', "fleet.member.agent_uri", "did you mean agent_url?"),
        ('[fleet]\nauthority = "/ca.crt"\n' + BROKER + RECORD + MEMBER, "fleet", "says nothing"),
        (
            '[fleet]\nauthority = "/ca.crt"\n' + BROKER + RECORD + FRONT + MEMBER,
            "fleet",
            "a member is of a host: add host",
        ),
        (
            '[fleet]\nhost = "h1"\n' + BROKER + MEMBER,
            "fleet",
            "fleet.member needs fleet.authority: add ca.crt",
        ),
        (HOST + MEMBER, "fleet", "fleet.member needs fleet.broker: add where RabbitMQ is"),
        (HOST + BROKER + FRONT, "fleet", "fleet.front needs fleet.record: add where Redis is"),
        (
            HOST + '[fleet.record]\nurl = "rediss://front:pw@r"\n',
            "fleet.record.url",
            "must match pattern",
        ),
        (HOST + RECORD + 'certificate = "/c"\n', "fleet.record", "key is missing"),
        (HOST + BROKER + 'key = "/k"\n', "fleet.broker", "certificate is missing"),
        (
            HOST + BROKER + MEMBER.replace("https://f1", "http://f1"),
            "fleet.member.fronts.0",
            "must match pattern",
        ),
        (HOST + BROKER + MEMBER.replace('["https://f1.example.com"]', "[]"), "fleet.member.fronts", "empty"),
        (HOST + RECORD + BROKER + FRONT.replace("front-1", "1"), "fleet.front.name", "must match pattern"),
        (HOST + RECORD + BROKER + FRONT, "", "fleet.front.http.port is 8443, the agent's port, too"),
    ],
)
def test_what_is_refused_names_the_key_and_the_way_out(
    tmp_path: Path, fleet: str, place: str, message: str
) -> None:
    error = refused(tmp_path, fleet)
    assert error.field == place
    assert message in error.message


def test_a_front_without_a_host_may_have_the_agents_port(tmp_path: Path) -> None:
    fleet = loaded(tmp_path, HOST.replace('host = "h1"\n', "") + RECORD + BROKER + FRONT)
    assert fleet is not None
    assert fleet.front is not None
    assert fleet.front.http.port == 8443


def keys(model: type[BaseModel], above: str = "") -> Iterator[str]:
    """Every key of a table and of the tables in it, as the page writes them."""
    for name, field in model.model_fields.items():
        below = field.annotation
        if isinstance(below, types.UnionType):
            below = get_args(below)[0]
        values = get_args(below)
        if isinstance(below, type) and issubclass(below, BaseModel) and below is not Limits:
            yield from keys(below, f"{above}{name}.")
        elif getattr(below, "__origin__", None) is dict and issubclass_of_model(values[1]):
            yield from keys(values[1], f"{above}{name}.<name>.")
        elif getattr(below, "__origin__", None) is dict:
            yield f"{above}{name}.<name>"
        else:
            yield above + name


def issubclass_of_model(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def documented() -> set[str]:
    """The keys in the first column of the table; `.key` stands for another key of the same section."""
    found = set()
    for row in PAGE.read_text("utf-8").splitlines():
        section = ""
        for name in re.findall(r"`([^`]+)`", row.split("|")[1]) if row.startswith("| `") else ():
            section = section if name.startswith(".") else name.rpartition(".")[0]
            found.add(section + name if name.startswith(".") else name)
    return found


def test_every_key_is_documented_and_no_other() -> None:
    of_the_front = {key for key in keys(Settings) if key.startswith("fleet.front.http.")}
    assert documented() == {*keys(Settings)} - of_the_front | {"fleet.front.http.<key>"}
