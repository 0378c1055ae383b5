"""Whether this host enforces the limits of a job.

systemd accepts MemoryMax= and the like without the cgroup controller for it, and then enforces nothing.
"""

from ..errors import AgentError, Problem
from ..host.systemd import Units

NEEDED = frozenset(("cpu", "memory", "pids"))  # by CPUQuota=, MemoryMax= and TasksMax=


async def demand_enforced_limits(units: Units) -> None:
    """Raises `AgentError` (configuration) if limits have no effect here."""
    if missing := NEEDED - await units.controllers():
        raise AgentError(
            Problem.CONFIGURATION,
            "This host cannot enforce the limits of jobs: systemd's user manager lacks the cgroup controllers"
            f" {', '.join(sorted(missing))}. An operator can delegate them (docs/operations.md), or let jobs"
            " run without limits (jobs.unenforced_limits).",
        )
