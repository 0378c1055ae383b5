"""The demo's warehouse: fakesnow's server with the customers of `dataset.py`, behind a login.

It listens on the socket that systemd passes (`LISTEN_FDS`, sd_listen_fds(3)), or on `PORT` without one, and
tells systemd when it is ready (`NOTIFY_SOCKET`, sd_notify(3)).
"""

import hmac
import json
import os
import socket
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from gzip import decompress
from pathlib import Path

import dataset
import fakesnow.server
import pyarrow
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

LOGINS = Path("/run/secrets/ml-warehouse")  # a connections.toml, the same that a job reads
SCHEMA = Path(__file__).with_name("schema.sql")
PORT = 8085
FIRST_SOCKET = 3  # SD_LISTEN_FDS_START
WRONG_LOGIN = "390100"  # Snowflake's code for "Incorrect username or password was specified"


def read_logins(file: Path) -> dict[str, str]:
    """The password of each user, from all connections in the file. Raises SystemExit with a remedy."""
    try:
        connections = tomllib.loads(file.read_text())
        return {connection["user"]: connection["password"] for connection in connections.values()}
    except FileNotFoundError:
        sys.exit(f"{file} is missing; run: podman secret create ml-warehouse connections.toml")
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        sys.exit(f"{file} is not a connections.toml with user and password in each section: {error!r}")


def fill(warehouse: fakesnow.server.FakeSnow) -> None:
    """Makes the tables with Snowflake's statements and loads the customers, all in memory."""
    connection = warehouse.connect()
    connection.execute_string(SCHEMA.read_text())
    rows = pyarrow.Table.from_pylist([customer._asdict() for customer in dataset.customers()])
    warehouse.duck_conn.register("rows", rows)
    warehouse.duck_conn.execute("INSERT INTO ML_DEMO.TELECOM.CUSTOMERS SELECT * FROM rows")
    warehouse.duck_conn.unregister("rows")


def tell_systemd(state: str) -> None:
    """Sends an sd_notify datagram, if systemd waits for one."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


def application(logins: dict[str, str]) -> Starlette:
    """fakesnow's routes, with a check of the login. fakesnow itself accepts any user and password."""

    async def login(request: Request) -> Response:
        body = await request.body()
        if request.headers.get("Content-Encoding") == "gzip":
            body = decompress(body)
        data = json.loads(body)["data"]
        expected = logins.get(data.get("LOGIN_NAME", ""))
        if expected is None or not hmac.compare_digest(expected, data.get("PASSWORD") or ""):
            message = "Incorrect username or password was specified."
            return JSONResponse({"success": False, "code": WRONG_LOGIN, "message": message, "data": {}})
        # An account keeps it with each query (QUERY_HISTORY); here it is in the log.
        tag = (data.get("SESSION_PARAMETERS") or {}).get("QUERY_TAG")
        fakesnow.server.logger.info("QUERY_TAG %s", json.dumps(tag))
        return await fakesnow.server.login_request(request)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        tell_systemd("READY=1")
        yield
        tell_systemd("STOPPING=1")

    # The first matching route counts, so this one replaces fakesnow's own.
    checked = Route("/session/v1/login-request", login, methods=["POST"])
    return Starlette(routes=[checked, *fakesnow.server.routes], lifespan=lifespan)


def main() -> None:
    """Serves until SIGTERM."""
    logins = read_logins(LOGINS)
    fill(fakesnow.server.shared_fs)
    inherited = FIRST_SOCKET if os.environ.get("LISTEN_FDS") == "1" else None
    everywhere = "0.0.0.0"  # noqa: S104 (of a container, whose ports are closed until someone publishes them)
    uvicorn.run(application(logins), host=everywhere, port=PORT, fd=inherited, access_log=False)


if __name__ == "__main__":
    main()
