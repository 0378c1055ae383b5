"""Executes the script that /run/ml-job/job.json describes, in place of itself:

    {"job_id": "…", "owner": "alice", "commit": "…", "script_name": "train.py",
     "hyperparameters": {"n_estimators": "50"}, "starts_after": "/run/ml-job/started",
     "proxy": "/run/ml-egress/proxy"}

The script gets JOB_ID, JOB_OWNER, JOB_COMMIT and HP_<NAME> in its environment. No shell, unit file or command
line has these values. An agent of an earlier version names neither owner nor commit.
The exit status is 78 (EX_CONFIG of sysexits.h) if the description is missing or malformed.

`starts_after` (optional) is a file that appears when systemd watches this container. The script starts after
that (ml_start.py): if it ended earlier, systemd would not see its exit status.

`proxy` (optional) is the socket of the job's proxy. A port of the job's own loopback is forwarded to it, and
HTTPS_PROXY names that port. There is no proxy for plain HTTP.

PYTHONPATH has /scripts, so that a script in a subdirectory can import what is in /scripts.
"""

import os
import sys

JOB = "/run/ml-job/job.json"
SCRIPTS = "/scripts"
EX_CONFIG = 78
PROXY_PORT = 3128  # of the job's own loopback
BACKLOG = 128
CHUNK = 1 << 16  # bytes


class MalformedError(Exception):
    """The description is malformed; the message says where."""


def text(name: str, value: object) -> str:
    """The value, which must be a string."""
    if not isinstance(value, str):
        raise MalformedError(f"{name} must be a string")
    return value


class Options:
    """The options of json's scanner: the defaults of `json.loads`."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def parsed(text: str) -> object:
    """The JSON value in the text. Raises ValueError.

    Importing json takes as long as starting Python. Its scanner is built in and costs nothing.
    """
    try:
        from _json import make_scanner

        value, end = make_scanner(Options)(text, 0)
        if end == len(text):
            return value
    except (ImportError, AttributeError, StopIteration, SystemError):
        pass  # the scanner cannot say what is wrong, or its interface has changed
    import json

    return json.loads(text)


def read(job: object) -> tuple[str, dict[bytes, bytes]]:
    """The path of the script, and its environment variables in UTF-8, whatever the locale."""
    if not isinstance(job, dict):
        raise MalformedError("must be an object")
    for key in ("job_id", "script_name", "hyperparameters"):
        if key not in job:
            raise MalformedError(f"{key} is missing")
    if not isinstance(job["hyperparameters"], dict):
        raise MalformedError("hyperparameters must be an object")
    variables = {"JOB_ID": text("job_id", job["job_id"])}
    variables |= {f"JOB_{key.upper()}": text(key, job[key]) for key in ("owner", "commit") if key in job}
    for name, value in job["hyperparameters"].items():
        variables[f"HP_{name.upper()}"] = text(name, value)
    script = os.path.join(SCRIPTS, text("script_name", job["script_name"]))
    return script, {name.encode(): value.encode() for name, value in variables.items()}


def forward(path: str) -> dict[bytes, bytes]:
    """Starts a process that forwards to the proxy's socket. Returns the variables that name its port.

    The process is not a child of the script.
    """
    import socket  # here, because most jobs do not need it

    listener = socket.create_server(("127.0.0.1", PROXY_PORT), backlog=BACKLOG)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            import asyncio

            os.setsid()
            asyncio.run(carry(listener.fileno(), path))
        os._exit(0)
    os.waitpid(child, 0)
    listener.close()
    address = b"http://127.0.0.1:%d" % PROXY_PORT
    local = b"localhost,127.0.0.1,::1"
    return {b"HTTPS_PROXY": address, b"https_proxy": address, b"NO_PROXY": local, b"no_proxy": local}


async def carry(listener: int, path: str) -> None:
    """Carries bytes between each connection and a connection to the socket, until the job ends."""
    import asyncio
    import socket

    async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            writer.close()  # so that the other direction ends too

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_unix_connection(path)
        except OSError:
            writer.close()
            return
        await asyncio.gather(one_way(reader, far_writer), one_way(far_reader, writer))
        for each in (writer, far_writer):
            each.close()

    async with await asyncio.start_server(serve, sock=socket.socket(fileno=os.dup(listener))) as server:
        await server.serve_forever()


def main() -> None:
    """Executes the script, or exits."""
    try:
        with open(JOB, encoding="utf-8") as file:
            job = parsed(file.read())
        script, variables = read(job)
        os.chdir(SCRIPTS)
        # Behind it, what an image of a site's own has set.
        python_path = os.pathsep.join(filter(None, (SCRIPTS, os.environ.get("PYTHONPATH"))))
        variables[b"PYTHONPATH"] = os.fsencode(python_path)
        if "proxy" in job:
            variables |= forward(text("proxy", job["proxy"]))
        if "starts_after" in job:
            # ml_start.py waits for it, while Python starts.
            variables[b"ML_STARTS_AFTER"] = text("starts_after", job["starts_after"]).encode()
        # -u: each line is in the log as soon as it is printed.
        command = [sys.executable, "-u", script]
        os.execve(command[0], command, dict(os.environb) | variables)  # noqa: S606 (no shell on purpose)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}"
    except (MalformedError, ValueError) as error:
        reason = f"{JOB}: {error}"
    print(f"ml-runner: {reason}", file=sys.stderr)
    sys.exit(EX_CONFIG)


if __name__ == "__main__":
    main()
