"""A TLS server for the faults that the real agent does not show. Its paths say what it does.

    python3 server.py FOLDER [--plain]

FOLDER has what the server shows: `NAME.crt` (with its chain) and `NAME.key`, and `ca.crt`, whose clients it
takes. It serves each NAME on a port of its own, prints a line `NAME PORT` for each and then `ready`, and ends
with its input. With --plain there is one port, `plain`, without TLS. A NAME that begins with `open` asks no
client for a certificate.

    /echo           the request, as JSON
    /status/N       a problem document of that status
    /cut/N          N bytes of 100000, then the connection breaks
    /silent         a head and a byte, then nothing
    /headless       nothing at all
    /slow/N         N pieces of 64 KiB, as fast as they are taken
    /garbage        no HTTP
    /redirect       to /echo
"""

import contextlib
import json
import socket
import socketserver
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    connections = 0
    lock = threading.Lock()

    def setup(self) -> None:
        super().setup()
        with self.lock:
            Handler.connections += 1

    def log_message(self, *_: object) -> None:
        pass

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        _, verb, *rest = self.path.partition("?")[0].split("/")
        with contextlib.suppress(OSError):
            getattr(self, f"serve_{verb}")(body, *rest)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = answer

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def whole(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.head(status, {"Content-Length": str(len(body)), "Content-Type": kind, "X-Twice": "1"})
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve_echo(self, body: bytes) -> None:
        peer = self.request.getpeercert() if isinstance(self.request, ssl.SSLSocket) else None
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
            "subject": [list(pair[0]) for pair in peer["subject"]] if peer else [],
            "connections": Handler.connections,
        }
        self.whole(200, json.dumps(seen).encode())

    def serve_status(self, _: bytes, status: str) -> None:
        problem = {"type": "urn:ml-agent:problem:planted", "title": "", "detail": "Planted."}
        problem |= {"status": int(status)}
        self.whole(int(status), json.dumps(problem).encode(), "application/problem+json")

    def serve_cut(self, _: bytes, count: str) -> None:
        self.head(200, {"Content-Length": "100000"})
        self.wfile.write(b"x" * int(count))
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def serve_silent(self, _: bytes) -> None:
        self.head(200, {"Content-Length": "100000"})
        self.wfile.write(b"x")
        time.sleep(30)

    def serve_headless(self, _: bytes) -> None:
        time.sleep(30)

    def serve_slow(self, _: bytes, count: str) -> None:
        self.head(200, {"Content-Length": str(int(count) << 16)})
        for _ in range(int(count)):
            self.wfile.write(b"y" * (1 << 16))

    def serve_garbage(self, _: bytes) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n")
        self.close_connection = True

    def serve_redirect(self, _: bytes) -> None:
        self.head(302, {"Location": "/echo", "Content-Length": "0"})


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.context = context

    def process_request_thread(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        if self.context:
            request = self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            try:
                request.do_handshake()
            except OSError:
                refuse(request)
                return
        super().process_request_thread(request, client_address)

    def handle_error(self, *_: object) -> None:
        pass


def refuse(request: ssl.SSLSocket) -> None:
    """Lets the client read the alert: to close with its bytes unread would take that back."""
    with contextlib.suppress(OSError):
        request.settimeout(2)
        request.shutdown(socket.SHUT_WR)
        while socket.socket.recv(request, 4096):
            pass
    request.close()


def context(folder: Path, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    if not name.startswith("open"):
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(folder / "ca.crt")
    return made


def main() -> None:
    folder = Path(sys.argv[1])
    names = ["plain"] if "--plain" in sys.argv else [path.stem for path in sorted(folder.glob("*.key"))]
    for name in names:
        server = Server(None if name == "plain" else context(folder, name))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(name, server.server_address[1], flush=True)
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
