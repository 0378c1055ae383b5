"""Units of jobs for tests: a plain one, one with secrets, and one whose job is behind a proxy."""

from dataclasses import replace
from pathlib import Path

from agent.config import shipped
from agent.model.inputs import ResolvedLimits
from agent.model.paths import AttemptPaths, JobPaths
from agent.runtime.quadlet import CONTAINERS_CONF
from agent.runtime.unit import JobUnit, MountedSecret, ProxySocket


def attempt_of(job_id: str, number: int = 1) -> AttemptPaths:
    return JobPaths(Path("/var/lib/ml/jobs"), Path("/run/user/1000"), job_id).attempt(number)


PLAIN = JobUnit(
    job_id="abcdefghijkl",
    image="localhost/ml-runner@sha256:" + ("d1e57" * 13)[:64],
    network="none",
    limits=ResolvedLimits(
        memory_bytes=2 * 2**30,
        cpus=1.5,
        tasks=512,
        run_time_seconds=3600,
        grace_seconds=None,
        artifact_bytes=8 * 2**30,
        artifact_files=10_000,
    ),
    snapshot=Path("/var/lib/ml/snapshots/c0ffee"),
    attempt=attempt_of("abcdefghijkl"),
    hooks=Path("/usr/lib/ml"),
    seccomp=Path("/usr/lib/ml/ml-job.seccomp.json"),
    containers_conf=shipped("quadlets") / CONTAINERS_CONF,
    state=Path("/var/lib/ml"),
)
WITH_SECRETS = replace(
    PLAIN,
    network="pasta:--map-gw,-T,none",
    limits=ResolvedLimits(
        memory_bytes=16 * 2**20,
        cpus=0.1,
        tasks=1,
        run_time_seconds=1,
        grace_seconds=None,
        artifact_bytes=2**20,
        artifact_files=1,
    ),
    secrets=(
        MountedSecret("snowflake", "ml-agent.snowflake.alice"),
        MountedSecret("archive", "ml-agent.archive"),
    ),
)
BEHIND_A_PROXY = replace(
    PLAIN, egress=ProxySocket("ml-egress@warehouse.socket", Path("/run/user/1000/ml-egress/warehouse"))
)
