"""An agent of the faults' own on the host: `ml-agent-faults.service`, with the units that are shipped.

Its state, its configuration and its port are its own, so that the installed agent is left alone; its jobs are
shell scripts in an image of two megabytes, so that hundreds of them are quick.
"""

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from agent.cli.job.profile import Profile
from agent.config import shipped
from tests.support.small_site import IMAGE, import_image, make_repository
from tests.support.waiting import run, until

from .killing import FILE

CHECKOUT = Path(__file__).parents[2]
NAME = "ml-agent-faults"
SERVICE, SOCKET = f"{NAME}.service", f"{NAME}.socket"
PODMAN = "ml-podman.service"
USERS = ("alice", "bob")
MAX_RUNNING = 6
IDLE_SECONDS = 3
RUN_TIME_SECONDS = 120
PATIENCE = 180.0  # seconds for one job, from its submission to its end, whatever happens meanwhile
# On an emulated processor a tenth of a CPU would start and end nothing in time: jobs have a half, and as long
# to stop as jobs have anywhere else.
MACHINE_CPUS, MACHINE_STOP_SECONDS, MACHINE_PATIENCE = 0.5, 30, 900.0
SHARE = 0.25  # of a machine with two CPUs

# Each job appends one nonce of its own to a file: two lines would be two invocations.
PROLOGUE = 'nonce=$(cat /proc/sys/kernel/random/uuid); echo "$nonce" >> /artifacts/nonce; echo "nonce $nonce"'
SCRIPTS = {
    "short.py": f"{PROLOGUE}; seq 1 20",
    "fail.py": f"{PROLOGUE}; seq 1 5; exit 3",
    "steady.py": f"{PROLOGUE}; for i in $(seq 1 20); do echo $i; sleep 0.1; done",
    "long.py": f"{PROLOGUE}; for i in $(seq 1 600); do echo $i; sleep 0.1; done",
    "late.py": f"{PROLOGUE}; sleep 2; exit 3",
    "greedy.py": f"{PROLOGUE}; seq 1 5; x=x; while :; do x=$x$x; done",
}
# A trial of a sweep: at each step it comes nearer to the loss that it reports last.
PARAMETER = 'sed -n "s/.*\\"{name}\\": \\"\\([0-9]*\\)\\".*/\\1/p" /run/ml-job/job.json'
SCRIPTS["sweep.py"] = f"""{PROLOGUE}
x=$({PARAMETER.format(name="x")}); y=$({PARAMETER.format(name="y")})
for step in 0 1 2 3 4; do
value=$(( (x - 30) * (x - 30) + (y - 70) * (y - 70) + 400 / (step + 1) ))
echo "::metric {{\\"name\\": \\"loss\\", \\"value\\": $value, \\"step\\": $step}}"
sleep 0.5
done"""
SPINNING = {"quarter.py": 0.25, "half.py": 0.5}  # CPUs by the script that wants all of them
LIMITED = "# /// ml-job\n# [limits]\n# cpus = {cpus}\n# ///\n"
SCRIPTS |= {
    name: f"{LIMITED.format(cpus=cpus)}{PROLOGUE}; while :; do :; done" for name, cpus in SPINNING.items()
}

# Scripts that count to a number, a line each, a fifth of a second's lines at a time.
LINES_A_SECOND = 4000
COUNTS = (1_000_000, 40_000)
COUNTING = """# /// ml-job
# [limits]
# run_time_seconds = 3600
# ///
{prologue}
i=0; while [ $i -lt {count} ]; do seq $((i + 1)) $((i + {step})); i=$((i + {step})); sleep 0.2; done"""
SCRIPTS |= {
    f"count-{count}.py": COUNTING.format(prologue=PROLOGUE, count=count, step=LINES_A_SECOND // 5)
    for count in COUNTS
}

CONFIG = """state_directory = "{base}/state"
policy_directories = ["{base}/policy"]
[scripts]
repository = "{base}/repository"
[jobs]
image = "{image}"
max_running = {running}
retry_delay_seconds = 1
# One of the faults is a disk that is full.
min_free_bytes = 0
[jobs.default_limits]
memory_bytes = 67108864
cpus = {cpus}
run_time_seconds = {run_time}
[http]
port = {port}
idle_exit_seconds = {idle}
# Clients here ask as fast as they are answered.
request_burst = 1000000
"""


class AgentService:
    """The service of an agent, by systemctl."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def main_pid(self) -> int:
        """The agent's process, 0 while there is none."""
        return int(await self.shown(self._name, "MainPID"))

    async def shown(self, unit: str, name: str) -> str:
        """One property of a unit, as systemctl prints it."""
        return await run("systemctl", "--user", "show", "--value", f"--property={name}", unit)

    async def kill(self, number: int) -> bool:
        """Sends a signal to the agent; whether there was one."""
        pid = await self.main_pid()
        with contextlib.suppress(ProcessLookupError):
            if pid:
                os.kill(pid, number)
                return True
        return False

    async def forgive(self) -> None:
        """Lets the agent's next crash be its first: its restarts become slower with each."""
        await run("systemctl", "--user", "reset-failed", self._name, check=False)

    async def wait_until_up(self, needless: Callable[[], bool]) -> None:
        """Returns when the agent is ready, or when nobody needs it any more."""

        async def up() -> bool:
            return needless() or await self.shown(self._name, "ActiveState") == "active"

        await until(up, seconds=120)

    async def wait_until_gone(self, *, seconds: float = 60) -> None:
        """Returns when the agent has left because it was idle."""

        async def gone() -> bool:
            return await self.shown(self._name, "ActiveState") == "inactive"

        await until(gone, seconds=seconds)


class Site(AgentService):
    """The agent under test, by systemctl and by its files."""

    def __init__(self, port: int, *, machine: bool = False, idle_seconds: int = IDLE_SECONDS) -> None:
        super().__init__(SERVICE)
        self.port = port
        self._idle_seconds = idle_seconds
        self._cpus = MACHINE_CPUS if machine else 0.1
        self._stop_seconds = MACHINE_STOP_SECONDS if machine else 2
        self.patience = MACHINE_PATIENCE if machine else PATIENCE
        self.base = Path.home() / ".local/state" / NAME
        self.state = self.base / "state"
        self._units = Path.home() / ".config/systemd/user"
        self._kill = self.state / "kill-at"

    async def make(self) -> None:
        """Sets everything up anew; the agent starts with the first connection."""
        await self.remove()
        policy = self.base / "policy/ml-job@.container.d/10-test.conf"
        policy.parent.mkdir(parents=True)
        policy.write_text(f"[Service]\nTimeoutStopSec={self._stop_seconds}\n")
        self.base.chmod(0o700)
        make_repository(self.base / "repository", SCRIPTS)
        config = self.base / "config.toml"
        config.write_text(
            CONFIG.format(
                base=self.base,
                image=IMAGE,
                running=MAX_RUNNING,
                cpus=self._cpus,
                run_time=RUN_TIME_SECONDS,
                port=self.port,
                idle=self._idle_seconds,
            )
        )
        await asyncio.to_thread(import_image)
        await self.ml_agent("init", "--san", "localhost")
        for user in USERS:
            await self.ml_agent("issue", user, "--output", str(self.base / "identities"))
        self._write_units()
        await run("systemctl", "--user", "daemon-reload")
        await run("systemctl", "--user", "enable", "--now", SOCKET)
        await run("systemctl", "--user", "enable", SERVICE)

    async def remove(self) -> None:
        """Leaves nothing but the jobs' lines in the journal."""
        if (self._units / SOCKET).exists():
            await run("systemctl", "--user", "disable", "--now", SOCKET, SERVICE, check=False)
        for unit in (SOCKET, SERVICE):
            (self._units / unit).unlink(missing_ok=True)
        if self.base.exists():
            # Snapshots of scripts are read-only.
            await run("chmod", "--recursive", "u+rwX", str(self.base))
            shutil.rmtree(self.base)
        await run("systemctl", "--user", "daemon-reload")
        # A unit that failed stays in the manager, and the next site's units have other names.
        await run("systemctl", "--user", "reset-failed", check=False)

    def _write_units(self) -> None:
        program = f"{sys.executable} -m tests.faults.killing"
        values = {"ML_AGENT": program, "STATE": str(self.state), "PORT": str(self.port)}
        environment = {
            "ML_AGENT_CONFIG": self.base / "config.toml",
            "PYTHONPATH": str(CHECKOUT),
            FILE: self._kill,
        }
        self._units.mkdir(parents=True, exist_ok=True)
        for kind in ("socket", "service"):
            text = (
                (shipped("units") / f"ml-agent.{kind}").read_text("utf-8").replace("ml-agent.s", f"{NAME}.s")
            )
            for name, value in values.items():
                text = text.replace(f"@{name}@", value)
            if kind == "service":
                lines = "".join(f"Environment={name}={value}\n" for name, value in environment.items())
                text = text.replace("[Service]\n", f"[Service]\n{lines}", 1)
            (self._units / f"{NAME}.{kind}").write_text(text)
        # The jobs' template names it; an installed agent has brought its own, which is the same.
        shutil.copyfile(shipped("units") / PODMAN, self._units / PODMAN)

    async def ml_agent(self, *arguments: str) -> str:
        """Runs `ml-agent …` with the site's configuration."""
        environment = f"ML_AGENT_CONFIG={self.base}/config.toml"
        return await run("env", environment, str(Path(sys.executable).parent / "ml-agent"), *arguments)

    def profile(self, user: str) -> Profile:
        """How a user reaches the agent."""
        files = self.base / "identities"
        return Profile.load(files, server=f"https://localhost:{self.port}", identity=user)

    def nonce(self, job_id: str) -> Path:
        """The file to which a job's first attempt appends one line as soon as it runs."""
        return self.state / "jobs" / job_id / "attempts/1/artifacts/nonce"

    def set_trap(self, step: str) -> None:
        """The agent dies when it next comes to the step."""
        self._kill.write_text(step, "utf-8")

    @property
    def trap_is_set(self) -> bool:
        """Whether no agent has died at it yet."""
        return self._kill.exists()
