# /// ml-job
# network = "egress-test"
# [[parameters]]
# name = "port"
# required = true
# ///
"""Uses its way out, and then tries to go further with it."""

import os
import socket
import urllib.request

PORT = int(os.environ["HP_PORT"])
print("proxy", os.environ["HTTPS_PROXY"], os.environ.get("http_proxy"))


def connect(place):
    if place == "socket":
        one = socket.socket(socket.AF_UNIX)
        one.connect("/run/ml-egress/proxy")
        return one
    return socket.create_connection(("127.0.0.1", 3128))


def ask(target, place="forwarded"):
    with connect(place) as one:
        one.settimeout(30)
        one.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        return one.recv(64).split(b"\r\n")[0].decode()


with connect("forwarded") as one:
    one.sendall(f"CONNECT 127.0.0.1:{PORT} HTTP/1.1\r\n\r\n".encode())
    head = one.recv(4096)
    one.sendall(b"through the proxy" * 10000)
    one.shutdown(socket.SHUT_WR)
    got = b""
    while data := one.recv(65536):
        got += data
    print("echo", head.split(b"\r\n")[0].decode(), got == b"through the proxy" * 10000)

for place in ("forwarded", "socket"):
    for target in (
        f"127.0.0.1:{PORT + 1}",
        "localhost:443",
        "169.254.169.254:80",
        "168.63.129.16:80",
        "metadata.google.internal:80",
        "example.com:443",
        "[::1]:443",
        "10.0.0.1:443",
        "127.1:443",
        "0:443",
        "2130706433:443",
    ):
        print("refused" if "403" in ask(target, place) else "REACHED", place, target)

for url in ("https://example.com/", "http://example.com/", "http://169.254.169.254/latest/meta-data/"):
    try:
        print("REACHED", url, urllib.request.urlopen(url, timeout=20).status)
    except OSError as error:
        print("refused", url, error)

for what in ("remove", "replace"):
    try:
        os.unlink("/run/ml-egress/proxy") if what == "remove" else os.mknod("/run/ml-egress/other")
        print("REACHED", what)
    except OSError as error:
        print("refused", what, error.strerror)

import snowflake.connector  # noqa: E402 (it takes seconds)

try:
    snowflake.connector.connect(
        account="not-on-the-list",
        user="x",
        password="x",
        login_timeout=5,
        platform_detection_timeout_seconds=0.0,
    )
except Exception as error:
    print("refused", "snowflake", type(error).__name__)
