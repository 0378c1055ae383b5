"""The server's TLS context, which is replaced when its files change."""

import ssl
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import AgentError, misconfigured
from ..log import log
from ..model.base import now
from .authority import FLEET, server_names
from .certificates import admitted_until
from .key_files import certificates, key_file, reread

LOOK_INTERVAL = 1.0  # seconds between two checks of the files

OWN_FILES = ("ca.crt", "server.crt", "server.key")
SERVER_FILES = (*OWN_FILES, *(f"{FLEET}/{name}" for name in OWN_FILES))
Stamp = tuple[int, int, int] | None  # inode, size and time of a file; None without it


def server_context(directory: Path) -> ssl.SSLContext:
    """A context that requires TLS 1.3 and a client certificate of an authority in `ca.crt`.

    Who asks for a name in the fleet's certificate is shown that one, and needs one of the fleet's authority.
    While an invitation is open, a client may also show no certificate, but never a wrong one.

    It may be called while the files are being replaced. Raises `AgentError` (configuration) if a file is
    missing or wrong.
    """
    return reread(lambda: _server_context(directory))


def _server_context(directory: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if (directory / FLEET / "server.crt").exists():
        context.sni_callback = _switch(directory / FLEET)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_OPTIONAL if _invites(directory) else ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    # A resumed session would skip the check of the certificate's expiry.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    chain = directory / "server.crt"
    key = key_file(directory, "server", certificates(chain)[0])
    try:
        context.load_cert_chain(chain, key)
        context.load_verify_locations(directory / "ca.crt")
    except OSError as error:  # ssl.SSLError is one
        raise misconfigured(
            f"The server's certificate in {directory} cannot be used: {error}.",
            "`ml-agent init` makes what is missing.",
        ) from error
    return context


def _switch(directory: Path) -> Callable[[ssl.SSLObject, str | None, ssl.SSLContext], None]:
    """Gives who asks for the fleet's name of this server the fleet's context: other clients, other names."""
    fleet = _server_context(directory)
    names = frozenset(server_names(certificates(directory / "server.crt")[0]))

    def switch(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name in names:
            connection.context = fleet

    return switch


def _invites(directory: Path) -> bool:
    until = admitted_until(directory)
    return until is not None and now() < until


class CurrentContext:
    """The server's context for each new connection, made again when its files have changed.

    An invitation that expires makes it anew as well.

    So the server's certificate and the authority can be replaced without a restart. Open connections keep
    their context. Files that cannot be used, such as an incomplete new set, are logged once and ignored.
    Raises `AgentError` (configuration) if there is no usable set at the start.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._used, self._invites = self._stamps(), _invites(directory)
        self._refused: list[Stamp] = []
        self._context = server_context(directory)
        self._looked = time.monotonic()

    def __call__(self) -> ssl.SSLContext:
        """The current context. Checks the files about once a second."""
        if time.monotonic() - self._looked >= LOOK_INTERVAL:
            self._looked = time.monotonic()
            self._look()
        return self._context

    def _look(self) -> None:
        stamps, invites = self._stamps(), _invites(self._directory)
        if (stamps, invites) == (self._used, self._invites):
            return
        try:
            self._context = server_context(self._directory)
        except AgentError as error:
            if stamps != self._refused:
                log.error("%s New connections use the previous certificate.", error.message)
            self._refused = stamps
            return
        self._used, self._invites = stamps, invites
        log.info("new connections use the files in %s as they are now", self._directory)

    def _stamps(self) -> list[Stamp]:
        return [_stamp(self._directory / name) for name in SERVER_FILES]


def _stamp(path: Path) -> Stamp:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
