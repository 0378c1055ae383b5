"""Where a job's time goes, read from what it left behind anyway: marks, files and the journal.

Times of files are the kernel's at its last tick, so a short phase may be off by some milliseconds.
"""

import itertools
from pathlib import Path

from agent.config import Settings
from agent.logs.journal import Journal
from agent.logs.lines import Line, LineNumbering, Position
from agent.model.log import LogSource
from agent.model.paths import ENDED

from .contender import BenchError
from .installed_agent import Followed, attempt_directory, unit_file

# The phases on the way to the first line follow each other; the answer to the request is beside them.
PHASES = (
    "POST sent → checked: identity, script, secrets, image digest",
    "→ committed, admitted, input/job.json written",
    "→ unit compiled by Quadlet and written",
    "→ systemd begins: StartUnit",
    "→ first line in the journal: podman, crun, the script",
    "→ first line at the client: journalctl, the event stream",
    "POST sent → 202 at the client",
    "first line in the journal → exit record",
    "exit record → end event at the client",
)


async def phases(followed: Followed, settings: Settings) -> dict[str, float]:
    """Seconds by phase of one job."""
    directory = attempt_directory(followed.job, settings)
    starting, printed = await _journalled(followed)
    ended = _written(directory / ENDED)
    way = [
        followed.sent,
        followed.job.created_at.timestamp(),
        _written(directory / "input/job.json"),
        _written(unit_file(followed.job, settings)),
        starting,
        printed,
        followed.first_line,
    ]
    spans = [later - earlier for earlier, later in itertools.pairwise(way)]
    spans += [followed.answered - followed.sent, ended - printed, followed.end - ended]
    return dict(zip(PHASES, spans, strict=True))


async def _journalled(followed: Followed) -> tuple[float, float]:
    """When systemd began with the unit, and when journald got the script's first line: seconds since 1970."""
    starting = None
    async for items in Journal().history(followed.job.unit, LineNumbering(Position())):
        for line in items:
            if not isinstance(line, Line):
                continue
            if line.source is LogSource.SYSTEM and line.text.startswith(b"Starting "):
                starting = line.time
            elif line.source is LogSource.JOB and starting:
                return starting / 1000, line.time / 1000
    raise BenchError(f"the journal does not have the whole start of {followed.job.unit}")


def _written(path: Path) -> float:
    return path.stat().st_mtime
