"""Where the files of a job are: in the state directory and, until the next boot, in the runtime directory.

Code that reads or writes such a file takes its path from here.
"""

from dataclasses import dataclass
from pathlib import Path

from .base import unit_name

# In the runtime directory:
UNITS = "systemd/user"  # the directory of compiled units
CONTAINER_ID = "ml-job@*.cid"  # made by Podman, which removes it together with the job's container
LEFT = "ml-job@*.left"  # made by ExecStopPost=: it could not remove the job's container
SWEPT = "ml-agent/swept"  # made by the agent: it has looked for containers of jobs that ended before the boot

# Marks: files in an attempt's directory. They are the agent's only proof of what happened to the attempt.
CLAIMED = "claimed"  # a link to the unit's RuntimeDirectory=, which systemd makes when the unit begins
STARTED = "input/started"  # made by ExecStartPost=: the container runs. The launcher waits for it.
STOPPING = "stopping"  # made by ExecStop=: systemd was asked to stop the unit, or its time was over
ENDED = "ended"  # made by ExecStopPost=: the exit record
OVER = "over"  # made by the agent: the job exceeded its quota, or filled the disk, and must be stopped


@dataclass(frozen=True)
class AttemptPaths:
    """The files of one attempt of a job. `claim` is relative to the runtime directory."""

    directory: Path
    runtime_directory: Path
    claim: str

    @property
    def input(self) -> Path:
        """The directory that the container sees as /run/ml-job, read-only."""
        return self.directory / "input"

    @property
    def description(self) -> Path:
        """What the image's launcher reads: script, hyperparameters, proxy."""
        return self.input / "job.json"

    @property
    def artifacts(self) -> Path:
        """The directory that the container sees as /artifacts."""
        return self.directory / "artifacts"

    @property
    def inputs(self) -> Path:
        """The directory that the container of a job with inputs sees as /inputs, read-only."""
        return self.directory / "inputs"

    @property
    def manifest(self) -> Path:
        """The record of the artifacts of an attempt that has ended; no job can write it."""
        return self.directory / "manifest.json"

    @property
    def claim_directory(self) -> Path:
        """The directory that systemd makes when the attempt's unit begins. It goes with the boot."""
        return self.runtime_directory / self.claim

    def mark(self, name: str) -> Path:
        """The mark of that name, one of those above."""
        return self.directory / name

    def reserved(self, name: str) -> Path:
        """The file that becomes the mark by a rename: its blocks are on the disk before the job starts."""
        return self.directory / f"{name}.new"


@dataclass(frozen=True)
class JobPaths:
    """The files of one job; `jobs_directory` and `runtime_directory` are those of the agent."""

    jobs_directory: Path
    runtime_directory: Path
    job_id: str

    @property
    def directory(self) -> Path:
        """Everything that the job leaves on the disk, except its record."""
        return self.jobs_directory / self.job_id

    @property
    def log(self) -> Path:
        """The job's log, once it has been taken out of the journal."""
        return self.directory / "log.gz"

    @property
    def metrics(self) -> Path:
        """What the job reported of its progress, once it has ended."""
        return self.directory / "metrics.json"

    @property
    def unit_file(self) -> Path:
        """The compiled unit."""
        return self.runtime_directory / UNITS / unit_name(self.job_id)

    @property
    def container_id(self) -> Path:
        """The file into which Podman writes the id of the job's container."""
        return self.runtime_directory / f"ml-job@{self.job_id}.cid"

    def attempt(self, number: int) -> AttemptPaths:
        """The files of an attempt; the first one has the number 1."""
        return AttemptPaths(
            directory=self.directory / "attempts" / str(number),
            runtime_directory=self.runtime_directory,
            claim=f"ml-agent/claims/{self.job_id}.{number}",
        )
