"""The cages of a front and of a member: the lines of the agent's, which have probes, and what differs."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.config import shipped

from .agent_cage import FLEET_STATE, lines, succeeded

FRONT, MEMBER = "ml-fleet.service", "ml-fleet-member.service"
GREATEST_EXPOSURE = 2.0
AGENTS_STATE = Path.home() / ".local/state/ml-agent"

# What a program of a fleet lacks of the agent's cage, and why.
LACKS = {
    "PrivateNetwork=true": "it connects to Redis, RabbitMQ, fronts and hosts",
    "RestrictAddressFamilies=AF_UNIX": "likewise",
    "ReadWritePaths=@STATE@ %t": "it has no business with units, sockets and the agent's record",
    "SystemCallFilter=setpriority": "it starts no programs whose priority it would lower",
    "InaccessiblePaths=-%h/.local/share/containers/storage/secrets"
    " -%h/.local/share/containers/storage/overlay-containers": "it cannot reach anything of Podman",
}
# What it has besides, each shown by a test below.
HAS = {
    FRONT: {
        "ReadWritePaths=@FLEET_STATE@",
        "InaccessiblePaths=-@FLEET_STATE@/authority/ca.key -@FLEET_STATE@/servers"
        " -@FLEET_STATE@/replica.password",
        "InaccessiblePaths=-%t/bus -%t/podman -%t/systemd/private -%t/containers",
        "InaccessiblePaths=-%h/.local/state/ml-agent -%h/.local/share/containers -%h/.ssh -%h/.config/ml-job",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    },
    MEMBER: {
        "TemporaryFileSystem=@STATE@:ro",
        "BindReadOnlyPaths=@STATE@/pki/fleet",
        "InaccessiblePaths=-@STATE@/pki/fleet/server.key -@STATE@/pki/fleet/server.key.next",
        "InaccessiblePaths=-%t/bus -%t/podman -%t/systemd/private -%t/containers",
        "InaccessiblePaths=-%h/.local/share/containers -%h/.ssh -%h/.config/ml-job",
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    },
}

READ = "open('{}', 'rb').read(1)"
LIST = "import os\nassert os.listdir('{}')"
WRITE = "import tempfile\ntempfile.TemporaryFile(dir='{}')"
CONNECT = "import os, socket\nsocket.socket(socket.AF_UNIX).connect(os.environ['XDG_RUNTIME_DIR'] + '/{}')"
NETWORK = "import socket\nsocket.socket(socket.AF_INET)\nsocket.socket(socket.AF_INET6)"
PACKETS = "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)"


@pytest.fixture(scope="module")
def places() -> Iterator[None]:
    """Files such as a front and a member have, where the cages look for them."""
    fleet = AGENTS_STATE / "pki/fleet"
    made = not fleet.exists()
    for directory in (FLEET_STATE / "authority", FLEET_STATE / "servers/redis-r1", fleet):
        directory.mkdir(parents=True, exist_ok=True)
    for file in (
        FLEET_STATE / "authority/ca.key",
        FLEET_STATE / "authority/ca.crt",
        FLEET_STATE / "servers/redis-r1/server.key",
        FLEET_STATE / "replica.password",
    ):
        file.write_text("x")
    if made:
        for name in ("member.key", "server.key"):
            (fleet / name).write_text("x")
    yield
    shutil.rmtree(FLEET_STATE)
    if made:
        shutil.rmtree(fleet)


@pytest.mark.parametrize("unit", [FRONT, MEMBER])
def test_it_is_the_agents_cage_and_what_differs_has_a_reason(unit: str) -> None:
    agents, own = set(lines()), set(lines(unit))
    assert agents - own == LACKS.keys()
    assert own - agents == HAS[unit]


@pytest.mark.host
@pytest.mark.parametrize(
    ("unit", "may"),
    [
        (FRONT, [WRITE.format(FLEET_STATE), READ.format(FLEET_STATE / "authority/ca.crt"), NETWORK]),
        (MEMBER, [READ.format(AGENTS_STATE / "pki/fleet/member.key"), NETWORK]),
    ],
)
def test_it_can_do_its_work(places: None, unit: str, may: list[str]) -> None:
    assert succeeded(may, lines(unit)) == [True] * len(may)


@pytest.mark.host
@pytest.mark.parametrize(
    ("unit", "may_not"),
    [
        (
            FRONT,
            [
                READ.format(FLEET_STATE / "authority/ca.key"),
                READ.format(FLEET_STATE / "replica.password"),
                LIST.format(FLEET_STATE / "servers"),
                LIST.format(AGENTS_STATE),
                CONNECT.format("bus"),
                CONNECT.format("podman/podman.sock"),
            ],
        ),
        (
            MEMBER,
            [
                READ.format(AGENTS_STATE / "jobs.db"),
                READ.format(AGENTS_STATE / "pki/ca.key"),
                READ.format(AGENTS_STATE / "pki/fleet/server.key"),
                WRITE.format(AGENTS_STATE),
                WRITE.format(AGENTS_STATE / "pki/fleet"),
                CONNECT.format("bus"),
                CONNECT.format("podman/podman.sock"),
            ],
        ),
    ],
)
def test_it_cannot_reach_what_it_does_not_need(places: None, unit: str, may_not: list[str]) -> None:
    assert succeeded(may_not, []) == [True] * len(may_not), (
        "without the cage it can: the probes show something"
    )
    assert succeeded(may_not, lines(unit)) == [False] * len(may_not)


@pytest.mark.host
@pytest.mark.parametrize("unit", [FRONT, MEMBER])
def test_it_has_no_other_sockets(unit: str) -> None:
    assert succeeded([PACKETS], lines(unit)) == [False]


@pytest.mark.host
@pytest.mark.parametrize("unit", [FRONT, MEMBER])
def test_systemd_scores_the_exposure_as_small(unit: str, tmp_path: Path) -> None:
    placed = tmp_path / unit
    text = (shipped("units") / unit).read_text()
    placed.write_text(
        text.replace("@ML_FLEET@", "/bin/true").replace("@STATE@", "/s").replace("@FLEET_STATE@", "/f")
    )
    said = subprocess.run(
        ["systemd-analyze", "--user", "--no-pager", "--offline=true", "security", str(placed)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout
    score = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert score, said
    print(f"{unit}: {score[1]}")
    assert float(score[1]) <= GREATEST_EXPOSURE, said
