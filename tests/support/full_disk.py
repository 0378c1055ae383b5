"""What becomes of Podman's secrets on a full disk, with and without the look at its free space.

    podman unshare unshare --mount python -m tests.support.full_disk DIRECTORY

Mounts a small file system on DIRECTORY, where nobody else sees it, with a Podman of its own. Prints JSON.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

from agent.errors import AgentError
from agent.host import podman
from agent.host.podman import LABEL_NAME, Podman, podman_name
from agent.secrets import secrets
from agent.secrets.secrets import Secrets
from tests.support.waiting import until

SIZE = "100m"  # more than must be free, less than what a container's image leaves of it with a file more
NAMES = ("first", "second", "third")


def value(name: str) -> bytes:
    """What the secret of that name has."""
    return f"the value of {name}".encode()


def command(directory: Path, *arguments: str) -> list[str]:
    """Podman with its storage there."""
    return ["podman", f"--root={directory}/storage", f"--runroot={directory}/runroot", *arguments]


@contextlib.asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Path]:
    """Podman's service; its socket."""
    socket = directory / "podman.sock"
    service = await asyncio.create_subprocess_exec(
        *command(directory, "system", "service", "--time=0", f"unix://{socket}")
    )
    try:

        async def listens() -> bool:
            return socket.exists()

        await until(listens)
        yield socket
    finally:
        service.terminate()
        await service.wait()


async def problem_of(change: Awaitable[object]) -> str:
    """How a change is refused, or that it was not."""
    try:
        await change
    except AgentError as error:
        return str(error.problem)
    return "done"


def values(directory: Path) -> dict[str, str]:
    """The values as Podman has them; none that it cannot read."""
    inspect = command(directory, "secret", "inspect", "--showsecret", *(podman_name(n, None) for n in NAMES))
    shown = subprocess.run(inspect, capture_output=True, check=False).stdout
    return {entry["Spec"]["Labels"][LABEL_NAME]: entry["SecretData"] for entry in json.loads(shown or b"[]")}


def fill(directory: Path, *, but: int = 0) -> None:
    """Takes all room but so many bytes."""
    with (directory / "fill").open("wb", buffering=0) as file:
        for size in (2**20, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
    with (directory / "fill").open("r+b") as file:
        file.truncate((directory / "fill").stat().st_size - but)


async def tried(kept: Secrets) -> list[str]:
    """A new secret, another value, a removal."""
    return [
        await problem_of(kept.set("new", None, b"x" * 100_000, running=[])),
        await problem_of(kept.set("first", None, b"x" * 100_000, running=[])),
        await problem_of(kept.remove("second", None)),
    ]


async def main(directory: Path) -> dict[str, object]:
    """What happened, in order."""
    told: dict[str, object] = {}
    async with served(directory) as socket, Podman(socket) as client:
        kept = Secrets(client, runtime_directory=directory, state_directory=directory)
        for name in NAMES:
            await kept.set(name, None, value(name), running=[])
        fill(directory)
        told["full"] = await tried(kept)
        told["values on a full disk"] = values(directory)
        fill(directory, but=2**20)
        told["nearly full"] = await tried(kept)
        (directory / "fill").unlink()
        told["values afterwards"] = values(directory)
        told["with room again"] = await problem_of(kept.set("first", None, value("first"), running=[]))
        # What it is for: the same without looking first.
        for module, least in ((podman, 0), (secrets, 1)):
            setattr(module, "FREE_BYTES_FOR_SECRETS", least)  # noqa: B010 (each module has a name of its own for it)
        fill(directory, but=4096)
        told["unguarded"] = await problem_of(kept.set("new", None, b"x" * 100_000, running=[]))
        told["values unguarded"] = values(directory)
    return told


if __name__ == "__main__":
    place = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)], check=True)
    os.environ["XDG_RUNTIME_DIR"] = str(place)
    print(json.dumps(asyncio.run(main(place))))
