"""A bed in the hands of its tests: commands in its hosts, faults, and requests from where its users are."""

import http.client
import json
import socket
import ssl
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.host.systemd_host import instance, nspawn

from . import bed, layout, network

T = TypeVar("T")

PATIENCE = 60.0  # seconds that a predicate is waited for
SILENCE = 3.0  # seconds without an answer that are taken for a partition


@dataclass(frozen=True)
class Fleet:
    """The bed of that name."""

    name: str

    def host_name(self, node: str) -> str:
        """The name of a node's host, as tests/host knows it."""
        return f"{self.name}-{node}"

    def root(self, node: str) -> Path:
        """The root file system of a node's host, as the machine sees it."""
        return instance.existing(self.host_name(node)).root

    def verb(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb of the command line, to its end."""
        command = [str(bed.PROGRAM), *words, "--name", self.name]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    def ran(self, node: str, *command: str, root: bool = False) -> subprocess.CompletedProcess[str]:
        """A command in a node, to its end."""
        words = bed.run_command(self.name, node, command, root=root)
        return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)

    def output(self, node: str, *command: str, root: bool = False) -> str:
        """What a command prints in a node; it must succeed."""
        done = self.ran(node, *command, root=root)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    # Faults

    def partition(self, host: str, what: str | None = None) -> None:
        network.partition(self.name, host, what)

    def heal(self, host: str) -> None:
        network.heal(self.name, host)

    def kill(self, host: str, what: str | None = None) -> None:
        bed.kill(self.name, host, what)

    def repair(self) -> None:
        """Heals every partition, and boots what is down."""
        for node in layout.NODES:
            network.heal(self.name, node.name)
        if not all(nspawn.is_running(bed.host_of(self.name, node.name)) for node in layout.BOOTING):
            bed.up(self.name)

    # Requests

    def connect(self, name: str, port: int, *, seconds: float = 20) -> socket.socket:
        """A connection from the users' network."""
        with network.inside(self.name, layout.USERS.name):
            return socket.create_connection((layout.NAMES[name], port), seconds)

    def ask(
        self,
        name: str,
        port: int,
        path: str,
        context: ssl.SSLContext,
        *,
        server_name: str = "",
        method: str = "GET",
        body: Any = None,
        seconds: float = 20,
        **headers: str,
    ) -> tuple[int, Any]:
        """A request from the users' network: the status and the JSON body.

        The handshake asks for `server_name`, by default the name itself, and the certificate must have it.
        """
        with (
            self.connect(name, port, seconds=seconds) as connection,
            context.wrap_socket(connection, server_hostname=server_name or name) as tls,
        ):
            client = http.client.HTTPConnection(name)
            client.sock = tls
            sent = None if body is None else json.dumps(body)
            client.request(method, path, sent, {"Content-Type": "application/json", **headers})
            answer = client.getresponse()
            return answer.status, json.loads(answer.read())

    def peer(self, node: str, name: str) -> ssl.SSLContext:
        """A TLS client with a node's certificate of the fleet: `front` or `member`."""
        state = self.root(node) / "home/ml/.local/state"
        files = state / ("ml-fleet" if name == "front" else "ml-agent/pki/fleet")
        authority = state / "ml-fleet/authority/ca.crt" if name == "front" else files / "ca.crt"
        context = ssl.create_default_context(cafile=authority)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(files / f"{name}.crt", files / f"{name}.key")
        return context

    def identity(self, node: str, user: str) -> ssl.SSLContext:
        """A TLS client with a user's certificate of a node's host."""
        files = self.root(node) / "home/ml/.config/ml-job"
        context = ssl.create_default_context(cafile=files / "ca.crt")
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(files / f"{user}.crt", files / f"{user}.key")
        return context


def wait_for(condition: Callable[[], T], what: str, *, seconds: float = PATIENCE) -> T:
    """The first true value of the condition."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return value
