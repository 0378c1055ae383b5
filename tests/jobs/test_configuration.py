"""Podman's configuration of the account opens nothing to a job, against real systemd and Podman."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.model.job import JobState
from tests.support.job_host import Host
from tests.support.small_site import IMAGE
from tests.support.waiting import run

pytestmark = [pytest.mark.host, pytest.mark.timeout(300)]

CONFIGURATION = Path.home() / ".config/containers"

HOSTILE = """
[containers]
mounts = ["type=bind,source={base},destination=/by-mounts"]
env = ["BY_ENV=1", "LD_PRELOAD=/by-env"]
devices = ["/dev/fuse:/dev/by-devices:rwm"]
annotations = ["run.oci.keep_original_groups=1"]
default_capabilities = ["CHOWN", "DAC_OVERRIDE", "SYS_ADMIN"]
default_sysctls = ["net.ipv4.ping_group_range=7 8"]
default_ulimits = ["nofile=123:123"]
no_hosts = false
seccomp_profile = "unconfined"
umask = "0000"
[engine]
hooks_dir = ["{base}/hooks"]
"""
MORE = '[containers]\nvolumes = ["{1}:/by-{0}:rw"]\n'


@contextlib.contextmanager
def hostile_configuration(base: Path) -> Iterator[Path]:
    """What Podman reads for the account mounts and adds things, and runs a hook, whose file is yielded."""
    assert not CONFIGURATION.exists() or not list(CONFIGURATION.glob("containers.conf*"))
    existed = CONFIGURATION.exists()
    drop_ins, hooks, ran = CONFIGURATION / "containers.conf.d", base / "hooks", base / "hook-ran"
    drop_ins.mkdir(parents=True)
    hooks.mkdir()
    (base / "stolen").write_text("CANARY")
    hook = {"version": "1.0.0", "hook": {"path": "/usr/bin/touch", "args": ["touch", str(ran)]}}
    (hooks / "all.json").write_text(
        json.dumps(hook | {"when": {"always": True}, "stages": ["createRuntime", "poststop"]})
    )
    (CONFIGURATION / "containers.conf").write_text(HOSTILE.format(base=base))
    (drop_ins / "99-more.conf").write_text(MORE.format("drop-in", base))
    (CONFIGURATION / "mounts.conf").write_text(f"{base}:/run/secrets/by-mounts-conf\n")
    (base / "override.conf").write_text(MORE.format("override", base))
    try:
        yield ran
    finally:
        shutil.rmtree(drop_ins)
        for name in ("containers.conf", "mounts.conf"):
            (CONFIGURATION / name).unlink()
        if not existed:
            CONFIGURATION.rmdir()


async def seen_by_a_job(host: Host) -> set[str]:
    """Where something is mounted, the names of variables, what is at the top, capabilities and limits."""
    job = await host.submit("look.py")
    ended = await host.end_of(job)
    assert ended.status is JobState.COMPLETED, ended.message
    await host.has_no_container(job)
    return {text for text, _ in await host.whole_log(job) if text.startswith("look ")}


async def test_no_configuration_of_podman_changes_what_a_job_has(host: Host, tmp_path: Path) -> None:
    plain = await seen_by_a_job(host)
    assert {"look mount /artifacts", "look variable PATH"} < plain
    base = tmp_path / "base"
    base.mkdir()
    with hostile_configuration(base) as hook_ran:
        # Any other container of the account has all of it, so the configuration is a weapon.
        other = await run(
            *("podman", "run", "--rm", "--network=none", "--entrypoint=/bin/sh", IMAGE),
            *("-c", "echo /by-* /dev/by-* /run/secrets/*; env"),
        )
        for each in ("/by-mounts", "/by-drop-in", "/by-devices", "/run/secrets/by-mounts-conf", "BY_ENV=1"):
            assert each in other
        assert hook_ran.exists()
        hook_ran.unlink()
        await run("systemctl", "--user", "set-environment", f"CONTAINERS_CONF_OVERRIDE={base}/override.conf")
        try:
            hostile = await seen_by_a_job(host)
        finally:
            await run("systemctl", "--user", "unset-environment", "CONTAINERS_CONF_OVERRIDE")
        assert not hook_ran.exists()
    assert hostile == plain
