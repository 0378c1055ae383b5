"""Cases of how jobs end: by a signal to their unit, under an account's own Podman settings, without room."""

import contextlib
import re
import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from .look import Look, same
from .place import CaseError, Place, outcome, run, text, wait_for

CANARY = "CANARY-77-of-the-cases"
CLEARED_WITHIN = 60  # seconds after a job's end
SMALL = "48m"  # of a runtime directory that is filled


def killed_unit(place: Place) -> Iterator[Look]:
    """Whatever is killed of a job: no container is left, no copy of its secret, and its outcome is true."""

    def unit(job: str) -> None:
        place.systemctl("kill", "--signal=KILL", job)

    def conmon(job: str) -> None:
        place.systemctl("kill", "--signal=KILL", "--kill-whom=main", job)

    def unit_and_agent(job: str) -> None:
        unit(job)
        place.systemctl("kill", "--signal=KILL", "ml-agent.service")

    def unit_before_restart(job: str) -> None:
        unit(job)
        place.systemctl("restart", "ml-agent.service")

    ways: dict[str, Callable[[str], None]] = {
        "unit": unit,
        "conmon": conmon,
        "unit and agent": unit_and_agent,
        "unit, then a restart of the agent": unit_before_restart,
    }
    with place.secret("api-token", CANARY.encode()):
        for name, kill in ways.items():
            job_id = place.ready("holds_secret.py")
            kill(f"ml-job@{job_id}.service")
            ended = outcome(place.wait(job_id))
            good = ended.startswith(("FAILED signal", "FAILED interrupted"))
            yield Look(f"{name} killed: outcome", ended, "FAILED by a signal, or interrupted", good)
            with contextlib.suppress(CaseError):
                wait_for(partial(_is_clear, place, job_id), "", seconds=CLEARED_WITHIN)
            yield same(f"{name} killed: what is left of the job", _left_of(place, job_id), "")
            yield same(f"{name} killed: copies of the secret", _copies(place), "")
            yield same(f"{name} killed: gaps of the log", place.gaps(job_id), [])
    yield same("copies of a secret that is removed", _copies(place), "")


def _is_clear(place: Place, job_id: str) -> bool:
    return not _left_of(place, job_id)


def _left_of(place: Place, job_id: str) -> str:
    """The container of a job, as Podman and the runtime directory have it."""
    names = text(
        run("podman", "ps", "--all", "--format={{.Names}} is {{.Status}}", f"--filter=name={job_id}").stdout
    )
    marks = [
        path.name for path in _runtime_directory().glob(f"*{job_id}*") if path.suffix in (".cid", ".left")
    ]
    return ", ".join(filter(None, [names, *marks]))


def _copies(place: Place) -> str:
    """Files of Podman's that have the canary as it is."""
    storage = Path.home() / ".local/share/containers"
    return place.as_root("sh", "-c", f"grep -rlsF {CANARY} {shlex.quote(str(storage))} || :").strip()


def containers_conf(place: Place) -> Iterator[Look]:
    """The account's own settings of Podman open no job's cage: they do nothing, or the job is refused."""
    home = Path.home()
    settings = {
        "a volume": f'volumes = ["{home}:/host:rw"]',
        "a mount": f'mounts = ["type=bind,source={home},destination=/host"]',
        "a variable": 'env = ["FOREIGN=1"]',
        "capabilities": 'default_capabilities = ["CAP_SYS_ADMIN", "CAP_NET_RAW"]',
        "privileges": "privileged = true",
    }
    places = {
        "containers.conf": home / ".config/containers/containers.conf",
        "a drop-in of it": home / ".config/containers/containers.conf.d/50-cases.conf",
    }
    plain = _sight(place)
    yield same("without any settings", plain, CONFINED)
    for where, file in places.items():
        for what, line in settings.items():
            with _written(file, f"[containers]\n{line}\n"):
                seen, told = _sight(place), place.finding("containers.conf")
            refused = seen.startswith("refused")
            good = seen == CONFINED or (refused and "containers.conf" in told)
            right = f"{CONFINED}, or refused and named by the doctor"
            yield Look(f"{what} in {where}", f"{seen}; doctor: {told or 'nothing'}", right, good)
            yield same(f"what a job wrote by {what} in {where}", (home / "written-by-a-job").exists(), False)
            (home / "written-by-a-job").unlink(missing_ok=True)


CONFINED = "host: False, wrote: False, foreign: False, capabilities: 0000000000000000"


def _sight(place: Place) -> str:
    """What a job sees of the host, or why there was none."""
    done = place.ml_job("submit", "looks_out.py")
    if done.returncode:
        return f"refused: {text(done.stderr)}"
    job = place.wait(done.stdout.decode().strip())
    if job.get("reason") == "start-failed":
        return f"refused: {job.get('message')}"
    return ", ".join(place.log(job["job_id"]).decode().splitlines())


@contextlib.contextmanager
def _written(file: Path, content: str) -> Iterator[None]:
    """A file has this content while the body runs."""
    before = file.read_bytes() if file.exists() else None
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content, "utf-8")
    try:
        yield
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)


def runtime_directory_full(place: Place) -> Iterator[Look]:
    """What cannot be written at a job's end is not given as the script's doing."""
    directory = _runtime_directory()
    with _small(place, directory):
        running = place.ready("waits.py", "-p", "seconds=8")
        filler = directory / "filler-of-the-cases"
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        try:
            later = place.submit("waits.py")
            ended = outcome(place.wait(running))
            told = place.finding(str(directory))
        finally:
            filler.unlink()
        good = ended == "COMPLETED" or ended.startswith("FAILED interrupted")
        yield Look("a script that ends well", ended, "COMPLETED, or FAILED as interrupted", good)
        yield Look(
            "the doctor",
            told or "nothing",
            f"fail or warn for {directory}",
            bool(re.search("fail|warn", told)),
        )
        ended = outcome(place.wait(later))
        yield same("a job that was submitted meanwhile, once there is room", ended, "COMPLETED")
    told = "\n".join(line for line in place.finding(str(directory)).splitlines() if " ok " not in line)
    yield same("the doctor, once there is room", told, "")


def _runtime_directory() -> Path:
    return Path(f"/run/user/{Path.home().stat().st_uid}")


@contextlib.contextmanager
def _small(place: Place, directory: Path) -> Iterator[None]:
    """The file system of the runtime directory is small while the body runs: it is in memory."""
    options = place.as_root("findmnt", "--noheadings", "--output=OPTIONS", str(directory))
    size = re.search(r"size=(\w+)", options)
    if size is None:
        raise CaseError(f"{directory} is no file system of its own: {options}")
    place.as_root("mount", "-o", f"remount,size={SMALL}", str(directory))
    try:
        yield
    finally:
        place.as_root("mount", "-o", f"remount,size={size[1]}", str(directory))
