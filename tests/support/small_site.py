"""A site for tests: settings, a repository of scripts, and an image of two megabytes that runs them.

The scripts are shell scripts whatever their name says; the image holds nothing but busybox.
"""

import hashlib
import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from agent.config import JobSettings, ScriptSettings, Settings
from agent.config_base import HttpSettings
from agent.model.inputs import Limits
from tests.support.git_repository import commit, git

APPLETS = ("sh", "sed", "sleep", "seq", "cat", "touch", "head", "chmod", "ln", "mkdir", "env")
LAUNCH = r"""#!/bin/sh
name=$(sed -n 's/.*"script_name": "\([^"]*\)".*/\1/p' /run/ml-job/job.json)
until [ -e /run/ml-job/started ]; do sleep 0.01; done
exec sh "/scripts/$name"
"""
# An image that an earlier version of these tests has left is another one.
IMAGE = f"localhost/ml-agent-test:{hashlib.sha256(LAUNCH.encode()).hexdigest()[:12]}"

SCRIPTS = {
    "succeed.py": "echo hello; echo result > /artifacts/result.txt",
    "fail.py": "echo bad >&2; exit 3",
    "crash.py": "echo going; kill -SEGV $$; sleep 5",
    "run.py": "echo begun; while :; do sleep 0.1; done",
    "ignore.py": "trap '' TERM; echo begun; while :; do sleep 0.1; done",
    "wait.py": "echo begun; until [ -e /artifacts/go ]; do sleep 0.1; done",
    "count.py": 'echo once >> "/artifacts/runs"; seq 1 2000',
    "again.py": "echo once >> /artifacts/runs; echo trying; exit 3",
    "hide.py": "echo x > /artifacts/x; chmod 000 /artifacts/x /artifacts",
    "secret.py": '# /// ml-job\n# secrets = ["canary"]\n# ///\necho begun; while :; do sleep 0.1; done',
    "bar.py": r"""for n in 1 2 3; do
printf '\rfitting %s|' $n >&2
printf '::metric {"name": "loss", "value": %s}\nepoch %s done\n' $n $n
done; echo >&2; sleep 0.3""",
    "look.py": """sed 's/^\\([^ ]* \\)\\{4\\}\\([^ ]*\\) .*/look mount \\2/' /proc/self/mountinfo
env | sed 's/=.*//; s/^/look variable /'
sed -n 's/^\\(Cap\\|Groups\\|NoNewPrivs\\|Seccomp:\\)/look &/p' /proc/self/status
sed -n 's/^Max open files/look &/p' /proc/self/limits
for each in /* /dev/* /run/* /run/secrets/*; do echo "look file $each"; done
echo "look umask $(umask)"; sed 's/^/look ping /' /proc/sys/net/ipv4/ping_group_range""",
    "inputs.py": """cat /inputs/model > /artifacts/read
for each in /inputs/* /inputs/.*; do echo "see $each"; done
(echo x > /inputs/model) || (echo x > /inputs/new) || touch /inputs/model || chmod 600 /inputs/model ||
chmod 700 /inputs || ln -s /scripts /inputs/link || mkdir /inputs/directory || echo nothing was written""",
    "lure.py": """echo result > /artifacts/result.txt; mkdir /artifacts/inner
ln -s /artifacts/result.txt /artifacts/link; ln -s /etc /artifacts/etc; ln -s .. /artifacts/inner/up""",
    "_helper.py": "echo a helper is no script",
    "declared.py": """# /// ml-job
# description = "Takes what it declares"
# secrets = ["warehouse"]
# artifacts = ["model.joblib"]
# [[parameters]]
# name = "depth"
# type = "integer"
# maximum = 10
# ///
""",
    "defaults.py": """# /// ml-job
# [[parameters]]
# name = "alpha"
# type = "number"
# default = 0.5
# [[parameters]]
# name = "depth"
# type = "integer"
# default = 3
# ///
echo "$HP_ALPHA $HP_DEPTH"
""",
    "sensitive.py": """# /// ml-job
# [[parameters]]
# name = "depth"
# [[parameters]]
# name = "patient"
# sensitive = true
# ///
""",
    "networked.py": '# /// ml-job\n# network = "elsewhere"\n# ///\n',
}


def make_repository(path: Path, scripts: dict[str, str] | None = None) -> str:
    """Makes the repository of scripts and returns its commit; a link that leads out of it is in there too."""
    directory = path / "scripts"
    directory.mkdir(parents=True)
    for name, text in (SCRIPTS if scripts is None else scripts).items():
        (directory / name).write_text(text + "\n")
    (directory / "passwd.py").symlink_to("/etc/passwd")
    git(path, "init", "--quiet")
    return commit(path)


def make_settings(
    directory: Path,
    *,
    runtime: Path,
    repository: Path | None = None,
    max_running: int = 4,
) -> Settings:
    """Settings with everything below `directory` but what is given, and a grace of one second."""
    policy = directory / "policy/ml-job@.container.d"
    policy.mkdir(parents=True)
    (policy / "10-test.conf").write_text("[Service]\nTimeoutStopSec=1\n")
    return Settings(
        state_directory=directory / "state",
        runtime_directory=runtime,
        scripts=ScriptSettings(repository=repository or directory / "repository"),
        jobs=JobSettings(
            image=IMAGE,
            max_running=max_running,
            cpus=max_running,
            # A host in a container has no cgroup controllers.
            unenforced_limits="run",
            default_limits=Limits(memory_bytes=64 * 2**20, run_time_seconds=60),
        ),
        http=HttpSettings(),
        policy_directories=[policy.parent],
    )


def with_jobs(settings: Settings, **changes: Any) -> Settings:
    """The same site with other settings of `[jobs]`."""
    return settings.model_copy(update={"jobs": settings.jobs.model_copy(update=changes)})


def import_image() -> None:
    """Puts the image into the account's Podman, if it is not there yet."""
    if subprocess.run(["podman", "image", "exists", IMAGE], check=False).returncode == 0:
        return
    busybox = shutil.which("busybox")
    assert busybox is not None, "the test image needs busybox (Debian package busybox-static)"
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        _add(tar, "bin/busybox", Path(busybox).read_bytes())
        _add(tar, "launch", LAUNCH.encode())
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    subprocess.run(
        ["podman", "import", "--quiet", "--change", 'ENTRYPOINT ["/bin/sh", "/launch"]', "-", IMAGE],
        input=archive.getvalue(),
        stdout=subprocess.DEVNULL,
        check=True,
    )


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o755
    tar.addfile(member, io.BytesIO(data))
