"""On what it was measured."""

import os
import platform
from pathlib import Path

from agent import __version__
from agent.config import Settings

from .contender import command

# Of every process of the account: its service manager, its containers, the agent, and this program.
CPU = Path(f"/sys/fs/cgroup/user.slice/user-{os.getuid()}.slice/cpu.stat")


def cpu_seconds() -> float:
    """What the account's processes have used so far (cgroup-v2, `cpu.stat`); nobody else's work is in it."""
    fields = dict(line.split() for line in CPU.read_text("ascii").splitlines())
    return int(fields["usage_usec"]) / 1e6


async def facts(settings: Settings) -> dict[str, str]:
    """What a reader must know to compare the figures with those of another machine."""
    inspect = ("podman", "info", "--format")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "kernel": platform.release(),
        "virtualisation": (await command("sh", "-c", "systemd-detect-virt || true")).strip(),
        "cgroup controllers": Path("/sys/fs/cgroup/cgroup.controllers").read_text("ascii").strip() or "none",
        "systemd": (await command("systemctl", "--version")).split()[1],
        "podman": (await command(*inspect, "{{.Version.Version}}")).strip(),
        "runtime": (await command(*inspect, "{{.Host.OCIRuntime.Name}}")).strip(),
        "storage": (await command(*inspect, "{{.Store.GraphDriverName}}")).strip(),
        "python": platform.python_version(),
        "ml-agent": __version__,
        "image": settings.jobs.image,
    }
