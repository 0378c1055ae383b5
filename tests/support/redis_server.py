"""A real Redis for tests, on a socket in a directory of its own."""

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

PATIENCE = 10.0  # seconds for it to answer


class RedisServer:
    """One process of redis-server that keeps its data as a fleet's record does."""

    def __init__(
        self, directory: Path, *, replica_of: int = 0, port: int = 0, tls: Path | None = None
    ) -> None:
        """`replica_of` is another one's port on the loopback; with `port`, this one has replicas.

        With `tls`, a directory of `ca.crt`, `server.crt` and `server.key`, the port is for holders of a
        certificate.
        """
        self.directory = directory
        self.socket = directory / "redis.sock"
        self.port = port
        self._options = ["--tls-port" if tls else "--port", str(port), "--bind", "127.0.0.1"]
        if tls:
            self._options += ["--port", "0", "--tls-ca-cert-file", str(tls / "ca.crt")]
            self._options += ["--tls-cert-file", str(tls / "server.crt"), "--tls-protocols", "TLSv1.3"]
            self._options += ["--tls-key-file", str(tls / "server.key"), "--tls-auth-clients", "yes"]
        self._options += ["--replicaof", "127.0.0.1", str(replica_of)] if replica_of else []
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextlib.contextmanager
    def running(cls, directory: Path, **options: Any) -> Iterator[Self]:
        server = cls(directory, **options)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    @property
    def group(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self, patience: float = PATIENCE) -> None:
        """Starts it, and waits until it answers."""
        program = shutil.which("redis-server")
        assert program is not None, "the record's tests need redis-server (Debian package redis-server)"
        self.directory.mkdir(exist_ok=True)
        settings = ["--unixsocket", str(self.socket), "--dir", str(self.directory), "--save", ""]
        settings += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        settings += ["--repl-diskless-sync-delay", "0"]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen([program, *settings, *self._options], stdout=log, stderr=log)
        deadline = time.monotonic() + patience
        while self.cli("ping") != "PONG":
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.02)

    def cli(self, *command: str) -> str:
        """What redis-cli prints."""
        asked = ["redis-cli", "-s", str(self.socket), *command]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends it a signal, and waits for the end that SIGKILL is."""
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
