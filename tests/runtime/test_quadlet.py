"""Compiled units: what the check refuses, and what the host's own generator makes of jobs and drop-ins."""

import asyncio
import re
import subprocess
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.config import shipped
from agent.errors import AgentError, Problem
from agent.model.base import unit_name
from agent.runtime import quadlet
from agent.runtime.quadlet import CONTAINERS_CONF, SECCOMP, TEMPLATE, Compiler, verify
from agent.runtime.unit import MountedSecret, ProxySocket, drop_in, record_section
from tests.support.job_units import PLAIN, WITH_SECRETS, attempt_of

DOCS = Path(__file__).parents[2] / "docs"
COMPILED = (Path(__file__).parent / "quadlet/compiled.service").read_text("utf-8")


def test_a_unit_with_all_options_is_accepted() -> None:
    verify(COMPILED, WITH_SECRETS)


@pytest.mark.parametrize(
    ("before", "after", "wrong"),
    [
        (" --read-only ", " ", "it lacks --read-only"),
        (" --cap-drop all ", " ", "it lacks --cap-drop all"),
        (" --cap-drop all ", " --cap-drop chown ", "it lacks --cap-drop all"),
        (" --security-opt=no-new-privileges ", " ", "it lacks --security-opt no-new-privileges"),
        (" --secret ml-agent.archive,", " --label x=", "it lacks --secret ml-agent.archive"),
        (" --network pasta:--map-gw,-T,none ", " ", "it lacks --network pasta:--map-gw,-T,none"),
        (" --init ", " --privileged ", "it has --privileged"),
        (" --init ", " --privileged=true ", "it has --privileged"),
        (" --init ", " --cap-add sys_admin ", "it has --cap-add"),
        (" --init ", " --cap-add=sys_admin ", "it has --cap-add"),
        (" --init ", " --network host ", "it has --network host"),
        (" --init ", " --network=host ", "it has --network host"),
        (" --init ", " --net=host ", "it has --net"),
        (" --init ", " --network=bridge ", "it has more than one --network"),
        (" --init ", " --userns=host ", "it has --userns host"),
        (" --init ", " --pid=host ", "it has --pid"),
        (" --init ", " --ipc host ", "it has --ipc"),
        (" --read-only ", " --read-only --read-only=false ", "it has --read-only false"),
        (
            " --init ",
            " --security-opt=no-new-privileges:false ",
            "it has --security-opt no-new-privileges:false",
        ),
        (" localhost/ml-runner@", " localhost/other@", "it does not run localhost/ml-runner@"),
        ("ExecStart=", "ExecStart=/bin/true\nExecStart=", "it has 2 ExecStart= lines"),
        ("ExecStart=", "ExecStart = /bin/true\nExecStart=", "it has 2 ExecStart= lines"),
        ("ExecStart=", "#ExecStart=", "it has 0 ExecStart= lines"),
    ],
)
def test_a_compiled_unit_with_weaker_isolation_is_refused(before: str, after: str, wrong: str) -> None:
    assert before in COMPILED
    with pytest.raises(AgentError) as caught:
        verify(COMPILED.replace(before, after), WITH_SECRETS)
    assert caught.value.problem is Problem.CONFIGURATION
    assert wrong in caught.value.message


def test_options_behind_the_image_do_not_count() -> None:
    text = COMPILED.replace(" --read-only ", " ").rstrip() + " --read-only --privileged\n"
    with pytest.raises(AgentError) as caught:
        verify(text, WITH_SECRETS)
    assert "it lacks --read-only" in caught.value.message
    assert "--privileged" not in caught.value.message


def test_a_missing_generator_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quadlet, "GENERATORS", (Path("/nonexistent"),))
    with pytest.raises(AgentError, match=r"Install Podman 5\.3"):
        quadlet.generator()


async def test_a_generator_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = tmp_path / "quadlet"
    stuck.write_text("#!/bin/sh\nexec sleep 60\n")
    stuck.chmod(0o755)
    monkeypatch.setattr(quadlet, "GENERATORS", (stuck,))
    monkeypatch.setattr(quadlet, "COMPILE_TIMEOUT", 0.1)
    with pytest.raises(AgentError, match="longer than"):
        await compiler(tmp_path).compile(PLAIN)
    assert list((tmp_path / "scratch").iterdir()) == []


# --- the host's own generator -------------------------------------------------------------------------


def compiler(tmp_path: Path, *policies: Path) -> Compiler:
    return Compiler(shipped("quadlets") / TEMPLATE, policies, tmp_path / "scratch")


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The ids of the jobs that the host's generator has compiled, noted by a program around it."""
    log, program = tmp_path / "compiled", tmp_path / "generator"
    program.write_text(
        f"""#!/bin/sh
        for job in "$QUADLET_UNIT_DIRS"/ml-job@?*.container; do basename "$job" .container >> {log}; done
        exec {quadlet.generator()} "$@"
        """
    )
    program.chmod(0o755)
    monkeypatch.setattr(quadlet, "GENERATORS", (program,))
    log.touch()
    return lambda: [line.removeprefix("ml-job@") for line in log.read_text().split()]


def lines_of(unit: str) -> list[list[str]]:
    """What a unit says. Quadlet writes some of Podman's options in another order each time."""
    return [sorted(line.split()) for line in unit.splitlines()]


def policy(tmp_path: Path, text: str, name: str = "10-site") -> Path:
    """A directory with an administrator's drop-in."""
    directory = tmp_path / name
    (directory / f"{TEMPLATE}.d").mkdir(parents=True)
    (directory / f"{TEMPLATE}.d/{name}.conf").write_text(text)
    return directory


@pytest.mark.host
async def test_the_generator_merges_template_and_job(tmp_path: Path) -> None:
    text = await compiler(tmp_path).compile(WITH_SECRETS)
    assert f"\n{drop_in(WITH_SECRETS).partition('[Service]')[2].strip()}\n" in text
    assert text.endswith(record_section(WITH_SECRETS))
    assert "\nExecStart=/usr/bin/systemd-cat " in text
    assert " --identifier=%N /usr/bin/podman --events-backend=none " in text
    assert "SourcePath=" not in text
    assert "RequiresMountsFor=" not in text
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.host
async def test_systemd_finds_nothing_wrong_with_a_compiled_unit(tmp_path: Path) -> None:
    unit = replace(PLAIN, hooks=shipped("units"))
    (tmp_path / unit_name(PLAIN.job_id)).write_text(await compiler(tmp_path).compile(unit))
    verified = await asyncio.to_thread(
        subprocess.run,
        ["systemd-analyze", "--user", "verify", tmp_path / unit_name(PLAIN.job_id)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


@pytest.mark.host
async def test_a_drop_in_is_merged(tmp_path: Path) -> None:
    site = policy(
        tmp_path,
        "[Container]\nTmpfs=/scratch:size=1g\nVolume=/srv/data:/data:ro\n[Service]\nTimeoutStopSec=5\n",
    )
    text = await compiler(tmp_path, site).compile(PLAIN)
    assert "\nRequiresMountsFor=/srv/data\n" in text
    assert " --tmpfs /scratch:size=1g " in text
    assert "\nTimeoutStopSec=5\n" in text


@pytest.mark.host
async def test_the_documented_drop_in_works(tmp_path: Path) -> None:
    document = (DOCS / "configuration.md").read_text("utf-8")
    example = document.partition("/ml-job@.container.d/50-site.conf\n")[2].partition("\nThe next job")[0]
    text = await compiler(tmp_path, policy(tmp_path, textwrap.dedent(example))).compile(PLAIN)
    mounts = dict(mount.split(":", 1) for mount in re.findall(r" --tmpfs (\S+)", text))
    assert mounts == {
        "/tmp": "rw,nosuid,nodev,size=4g,mode=1777",
        "/dev/shm": "rw,nosuid,nodev,noexec,size=256m,mode=1777",
    }
    assert text.count(" --tmpfs ") == 2
    assert "\nTimeoutStopSec=120\n" in text


@pytest.mark.host
async def test_a_unit_that_differs_only_in_its_id_is_reused(
    tmp_path: Path, generated: Callable[[], list[str]]
) -> None:
    ids = ["abcdefghijkl", "mnopqrstuvwx"]
    job_units = [replace(WITH_SECRETS, job_id=each, attempt=attempt_of(each)) for each in ids]
    shared = compiler(tmp_path)
    units = [lines_of(await shared.compile(unit)) for unit in job_units]
    assert generated() == ids[:1]
    assert units == [lines_of(await compiler(tmp_path).compile(unit)) for unit in job_units]
    assert generated() == [*ids[:1], *ids]


@pytest.mark.host
@pytest.mark.parametrize(
    "changed",
    [
        {"image": "localhost/ml-runner@sha256:" + "0" * 64},
        {"network": "pasta"},
        {"limits": PLAIN.limits.model_copy(update={"tasks": 513})},
        {"snapshot": Path("/var/lib/ml/snapshots/decaf")},
        {"attempt": attempt_of("abcdefghijkl", 2)},
        {"seccomp": Path("/usr/lib/ml/other.json")},
        {"egress": ProxySocket("ml-egress@warehouse.socket", Path("/run/user/1000/ml-egress/warehouse"))},
        {"secrets": (MountedSecret("snowflake", "ml-agent.snowflake.alice"),)},
        {"image_variables": frozenset({"OMP_NUM_THREADS"})},
    ],
    ids=lambda changed: next(iter(changed)),
)
async def test_a_unit_that_differs_in_more_is_compiled(
    tmp_path: Path, generated: Callable[[], list[str]], changed: dict[str, Any]
) -> None:
    shared = compiler(tmp_path)
    plain = lines_of(await shared.compile(PLAIN))
    other = lines_of(await shared.compile(replace(PLAIN, **changed)))
    assert len(generated()) == 2
    assert other != plain
    assert other == lines_of(await compiler(tmp_path).compile(replace(PLAIN, **changed)))


@pytest.mark.host
async def test_the_next_job_uses_changed_drop_ins(tmp_path: Path, generated: Callable[[], list[str]]) -> None:
    site = policy(tmp_path, "[Service]\nTimeoutStopSec=5\n")
    shared = compiler(tmp_path, site)
    for patience in (5, 6):
        policy_file = site / f"{TEMPLATE}.d/10-site.conf"
        policy_file.write_text(f"[Service]\nTimeoutStopSec={patience}\n")
        assert f"\nTimeoutStopSec={patience}\n" in await shared.compile(PLAIN)
    policy_file.unlink()
    assert "\nTimeoutStopSec=6\n" not in await shared.compile(PLAIN)
    (site / TEMPLATE).write_text((shipped("quadlets") / TEMPLATE).read_text("utf-8") + "\n# ours\n")
    await shared.compile(PLAIN)
    assert len(generated()) == 4


@pytest.mark.host
async def test_a_drop_in_overrides_the_number_of_threads(tmp_path: Path) -> None:
    site = policy(tmp_path, "[Container]\nEnvironment=OMP_NUM_THREADS=5\n", "00-site")
    text = await compiler(tmp_path, site).compile(PLAIN)
    assert re.findall(r" --env (\w+_NUM_THREADS=\d)", text).count("OMP_NUM_THREADS=5") == 1
    assert "--env OMP_NUM_THREADS=2 " not in text
    assert " --env OPENBLAS_NUM_THREADS=2 " in text


@pytest.mark.host
async def test_the_jobs_limits_override_drop_ins(tmp_path: Path) -> None:
    site = policy(tmp_path, "[Service]\nMemoryMax=infinity\n")
    lines = (await compiler(tmp_path, site).compile(PLAIN)).splitlines()
    assert [line for line in lines if line.startswith("MemoryMax=")][-1] == "MemoryMax=2147483648"


@pytest.mark.host
async def test_a_sites_own_template_replaces_the_packaged_one(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    packaged = (shipped("quadlets") / TEMPLATE).read_text("utf-8")
    (site / TEMPLATE).write_text(
        packaged.replace("Description=Training job %i", "Description=Job %i of ACME")
    )
    assert "\nDescription=Job %i of ACME\n" in await compiler(tmp_path, site).compile(PLAIN)


@pytest.mark.host
async def test_a_sites_own_filter_replaces_the_packaged_one(tmp_path: Path) -> None:
    site = policy(tmp_path, "[Container]\nAddDevice=nvidia.com/gpu=all\n")
    (site / SECCOMP).write_text("{}")
    text = await compiler(tmp_path, site).compile(PLAIN)
    assert f" --security-opt seccomp={site / SECCOMP} " in text
    assert re.search(r" --device[ =]nvidia\.com/gpu=all ", text)


@pytest.mark.host
async def test_a_sites_own_configuration_of_podman_is_checked(tmp_path: Path) -> None:
    own = tmp_path / CONTAINERS_CONF
    own.write_text("[containers]\npids_limit = 0\n[engine]\nhooks_dir = []\n")
    assert f"\nEnvironment=CONTAINERS_CONF={own}\n" in await compiler(tmp_path, tmp_path).compile(PLAIN)
    for text, wrong in (("[engine", "Expected"), ("[containers]\nvolumes = []\n", "containers.volumes")):
        own.write_text(text)
        with pytest.raises(AgentError, match=wrong) as caught:
            await compiler(tmp_path, tmp_path).compile(PLAIN)
        assert caught.value.problem is Problem.CONFIGURATION
        assert str(own) in caught.value.message


@pytest.mark.host
@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[Container]\nReadOnly=false\n", "it has --read-only false"),
        ("[Container]\nReadOnly=y\n", "it has --read-only false"),
        ("[Container]\nNoNewPrivileges=false\n", "it lacks --security-opt no-new-privileges"),
        ("[Container]\nDropCapability=\n", "it lacks --cap-drop all"),
        ("[Container]\nAddCapability=SYS_ADMIN\n", "it has --cap-add"),
        ("[Container]\nNetwork=host\n", "it has --network host"),
        ("[Container]\nPodmanArgs=--network=host\n", "it has --network host"),
        ("[Container]\nPodmanArgs=--read-only=false\n", "it has --read-only false"),
        ("[Container]\nPodmanArgs=--privileged\n", "it has --privileged"),
        ("[Container]\nGlobalArgs=--privileged\n", "it has --privileged"),
        ("[Container]\nGlobalArgs=--default-mounts-file=/srv/mounts\n", "it has --default-mounts-file"),
        ("[Container]\nAnnotation=run.oci.seccomp_bpf_data=AAAA\n", "it has --annotation"),
        ("[Service]\nExecStart=/bin/true\n", "ExecStart= lines"),
        ("[Container]\nPodmanArgs=--security-opt=seccomp=unconfined\n", "seccomp=unconfined"),
        ("[Container]\nUnmask=ALL\n", "it has --security-opt unmask=ALL"),
        ("[Container]\nAddDevice=/dev/null\n", "it has --device /dev/null"),
        ("[Container]\nVolume=/:/host:ro\n", "it has -v /:/host:ro"),
        ("[Container]\nVolume=%t:/host:ro\n", "it has -v %t:/host:ro"),
        ("[Container]\nMount=type=bind,source=/srv,target=/srv\n", "it has --mount"),
        ("[Container]\nNotify=true\n", "it has --sdnotify container"),
        ("[Container]\nEnvironmentFile=/etc/environment\n", "it has --env-file"),
        ("[Container]\nGroupAdd=keep-groups\n", "it has --group-add keep-groups"),
        ("[Container]\nUserNS=host\n", "it has --userns host"),
        ("[Container]\nUser=0\n", "it has --user 0"),
        ("[Container]\nTmpfs=/tmp:size=4g\n", "it mounts /tmp twice"),
        ("[Container]\nSecret=key,type=env,target=KEY\n", "it has --secret key,type=env"),
    ],
)
async def test_a_drop_in_with_weaker_isolation_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    with pytest.raises(AgentError) as caught:
        await compiler(tmp_path, policy(tmp_path, text)).compile(PLAIN)
    assert wrong in caught.value.message
    assert "drop-ins" in caught.value.hint


@pytest.mark.host
async def test_a_drop_in_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    site = policy(tmp_path, "")
    (site / f"{TEMPLATE}.d/20-more.conf").mkdir()
    with pytest.raises(AgentError, match=r"20-more\.conf: Is a directory") as caught:
        await compiler(tmp_path, site).compile(PLAIN)
    assert caught.value.problem is Problem.CONFIGURATION


@pytest.mark.host
async def test_quadlets_error_about_a_drop_in_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"Quadlet refused the job's unit: .*NoSuchKey"):
        await compiler(tmp_path, policy(tmp_path, "[Container]\nNoSuchKey=1\n")).compile(PLAIN)


@pytest.mark.host
async def test_a_drop_in_that_quadlet_ignores_is_reported(tmp_path: Path) -> None:
    site = policy(tmp_path, "[Container\nReadOnly=false\n")
    shared = compiler(tmp_path, site)
    await shared.compile(PLAIN)
    assert f'error loading "{TEMPLATE}.d/10-site.conf"' in shared.messages
    assert shared.messages.count("error loading") == 1
    (site / f"{TEMPLATE}.d/10-site.conf").unlink()
    await shared.compile(PLAIN)
    assert shared.messages == ""


@pytest.mark.host
async def test_messages_about_an_incomplete_template_are_left_out(tmp_path: Path) -> None:
    packaged = (shipped("quadlets") / TEMPLATE).read_text("utf-8")
    (tmp_path / TEMPLATE).write_text(packaged.replace("Image=localhost/ml-runner:latest\n", ""))
    shared = compiler(tmp_path, tmp_path)
    await shared.compile(PLAIN)
    assert shared.messages == ""
