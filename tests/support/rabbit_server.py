"""A real RabbitMQ for tests, with everything of it in a directory of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

PROGRAMS = Path("/usr/lib/rabbitmq/bin")  # Debian's wrappers on the PATH are for root alone
PATIENCE = 90.0  # seconds for it to start


class RabbitServer:
    """One node on the loopback."""

    def __init__(self, directory: Path, *, tls: Path | None = None) -> None:
        """With `tls`, a directory of `ca.crt`, `server.crt`, `server.key`: for holders of a certificate."""
        self.directory = directory
        self._scheme = "amqps" if tls else "amqp"
        self.port, dist, self._epmd = _free_ports(3)
        directory.mkdir()
        configuration = directory / "rabbitmq.conf"
        listener = "ssl" if tls else "tcp"
        settings = [
            "listeners.tcp = none" if tls else "",
            f"listeners.{listener}.1 = 127.0.0.1:{self.port}",
            # Without a name of its own, the node resolves the host's at each connection.
            "cluster_name = test",
            "log.console = true",
            "log.file = false",
        ]
        if tls:
            settings += [
                f"ssl_options.cacertfile = {tls / 'ca.crt'}",
                f"ssl_options.certfile = {tls / 'server.crt'}",
                f"ssl_options.keyfile = {tls / 'server.key'}",
                "ssl_options.versions.1 = tlsv1.3",
                "ssl_options.verify = verify_peer",
                "ssl_options.fail_if_no_peer_cert = true",
            ]
        configuration.write_text("".join(f"{line}\n" for line in settings))
        (directory / "enabled_plugins").write_text("[].\n")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": "test@localhost",
            "RABBITMQ_DIST_PORT": str(dist),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "data"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def running(cls, directory: Path, *, tls: Path | None = None) -> Iterator[Self]:
        assert PROGRAMS.is_dir(), "the tickets' tests need RabbitMQ (Debian package rabbitmq-server)"
        server = cls(directory, tls=tls)
        # The node would start one that outlives it.
        epmd = subprocess.Popen(["epmd", "-port", str(server._epmd)], env=server._environment)
        try:
            server.start()
            yield server
        finally:
            server.kill()
            epmd.kill()
            epmd.wait()

    @property
    def url(self) -> str:
        return f"{self._scheme}://guest:guest@127.0.0.1:{self.port}/?heartbeat=10"

    @property
    def group(self) -> int:
        """Its group of processes."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it, and waits until clients can connect."""
        with (self.directory / "console").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAMS / "rabbitmq-server"],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            assert time.monotonic() < deadline, (self.directory / "console").read_text()[-4000:]
            time.sleep(0.1)

    def _answers(self) -> bool:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port), 1) as connection,
        ):
            if self._scheme == "amqps":
                return True
            connection.settimeout(5)
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return connection.recv(1) != b""
        return False

    def ctl(self, *command: str) -> None:
        """rabbitmqctl."""
        ran = subprocess.run(
            [PROGRAMS / "rabbitmqctl", *command], env=self._environment, capture_output=True, check=False
        )
        assert ran.returncode == 0, ran.stderr.decode()

    def kill(self) -> None:
        """Ends the node and its helpers as a power cut would."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
