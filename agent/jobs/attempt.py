"""The files of one attempt: the agent lays them out, the unit leaves its marks, the agent reads these."""

import contextlib
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from ..errors import AgentError, Problem
from ..host.files import write_file
from ..model.job import Job, Reason
from ..model.paths import CLAIMED, ENDED, OVER, STARTED, STOPPING, JobPaths
from ..runtime.outcome import (
    MAX_MARK,
    ExitRecord,
    Outcome,
    mark_time,
    outcome,
    read_excess,
    read_mark,
    read_record,
)
from ..runtime.unit import EGRESS_PLACE


class AttemptFiles:
    """What one attempt of a job has on the disk: its input, its artifacts, and the marks of its unit."""

    def __init__(self, job_paths: JobPaths, number: int) -> None:
        self.paths = job_paths.attempt(number)
        self._container_id = job_paths.container_id

    def lay_out(self, job: Job, *, proxied: bool) -> None:
        """Makes what the unit needs. Raises `AgentError` (storage-full)."""
        paths = self.paths
        with storage_full():
            for directory in (paths.input, paths.artifacts):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            put(paths.description, _description(job, proxied=proxied))
            # If the disk is full when the job ends, these blocks hold how it ended.
            for mark in (STOPPING, ENDED, OVER):
                paths.reserved(mark).write_bytes(b" " * MAX_MARK)
            paths.reserved(CLAIMED).touch(mode=0o600)
            if not paths.mark(CLAIMED).is_symlink():
                paths.mark(CLAIMED).symlink_to(paths.claim_directory)

    def bar(self) -> None:
        """Makes sure that an attempt that is over never starts, not even if an operator starts its unit.

        Raises `AgentError` (storage-full).
        """
        with storage_full(), contextlib.suppress(FileNotFoundError):
            self.paths.reserved(CLAIMED).replace(self.paths.mark(CLAIMED))
        # The claim is in memory, which must not fill up with those of all jobs that ever ran.
        with contextlib.suppress(OSError):
            self.paths.claim_directory.rmdir()

    def order_end(self, reason: Reason, message: str) -> None:
        """Leaves the mark that the agent ends the job, and why. The first one counts. Raises `OSError`."""
        reserved = self.paths.reserved(OVER)
        with contextlib.suppress(FileNotFoundError):  # the mark is there already
            # Written into the reserved blocks: a full disk has no others.
            with reserved.open("r+b") as file:
                file.write(f"{reason} {message}".encode().ljust(MAX_MARK))
            reserved.rename(self.paths.mark(OVER))

    def ordered_end(self) -> Outcome | None:
        """How the job ends by the agent's own order; None if the agent has ordered nothing."""
        return read_excess(self.paths.mark(OVER))

    def has(self, mark: str) -> bool:
        """Whether the attempt has that mark."""
        return self.paths.mark(mark).exists()

    def has_begun(self) -> bool:
        """Whether systemd ever began to start the unit."""
        # The claim goes with the boot. What only a claimed unit makes stays.
        return self.has(CLAIMED) or self.has(STARTED)

    def started_at(self) -> datetime | None:
        """When the container ran, or None if it has not yet."""
        return mark_time(self.paths.mark(STARTED)) if self.has(STARTED) else None

    def record(self) -> ExitRecord | None:
        """The exit record, or None where there is none, or a damaged one."""
        return read_record(self.paths.mark(ENDED))

    def outcome(self, record: ExitRecord, *, cancelled: bool, called_off: bool) -> Outcome:
        """What `record` and the marks prove.

        `cancelled`: a client asked for the end. `called_off`: systemd dropped the start because of a stop.
        """
        stopping = read_mark(self.paths.mark(STOPPING))
        return outcome(
            record,
            started=self.has(STARTED),
            stopping=stopping[0] if stopping else "success" if called_off else None,
            cancelled=cancelled,
            excess=self.ordered_end(),
        )

    def container_id(self) -> str:
        """The id of the job's container, or "" until Podman has made it."""
        with contextlib.suppress(OSError):
            return self._container_id.read_text("ascii").strip()
        return ""


def _description(job: Job, *, proxied: bool) -> str:
    """What the image's launcher reads as /run/ml-job/job.json: the only way of client values into a job."""
    described = {
        "job_id": job.job_id,
        "owner": job.owner,
        "commit": job.commit,
        "script_name": job.script_name,
        "hyperparameters": job.hyperparameters,
        "starts_after": f"/run/ml-job/{Path(STARTED).name}",
    }
    return json.dumps(described | ({"proxy": f"{EGRESS_PLACE}/proxy"} if proxied else {}))


def put(path: Path, text: str) -> None:
    """Writes a file that another program reads next: whole or not at all, and not for the next boot."""
    write_file(path, text.encode(), mode=0o600, replace=True, durable=False)


@contextlib.contextmanager
def storage_full() -> Iterator[None]:
    """Turns an `OSError` into an `AgentError` (storage-full)."""
    try:
        yield
    except OSError as error:
        raise AgentError(Problem.STORAGE_FULL, f"The job's files cannot be written: {error}.") from error
