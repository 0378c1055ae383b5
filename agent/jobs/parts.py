"""The parts of this wing, made for one another."""

from collections.abc import Callable
from pathlib import Path

from ..config import Settings
from ..host.podman import Podman
from ..host.systemd import Units
from ..model.job import Job
from ..runtime import exit_journal
from ..runtime.quadlet import Compiler
from ..scheduling.queue import Queue
from ..scripts.snapshots import Snapshots
from ..store.jobs import JobStore
from ..store.withdrawals import WithdrawalStore
from .commits import Commits
from .host_status import HostStatus
from .leftovers import Leftovers
from .preparation import Preparation
from .reconciler import ExitOf, Reconciler
from .registry import Registry
from .results import Results
from .submission import Submission
from .withdrawals import WithdrawalGuard


class JobParts:
    """Submission, registry, results, host and reconciler over one store and one host."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: JobStore,
        withdrawals: WithdrawalStore,
        snapshots: Snapshots,
        podman: Podman,
        compiler: Compiler,
        units: Units,
        hooks: Path,
        on_end: Callable[[Job], None] = lambda _: None,
        exit_of: ExitOf = exit_journal.exit_of,
    ) -> None:
        queue = Queue(settings.jobs)
        self.registry = Registry(settings, store, queue, on_end=on_end)
        self.commits = Commits(settings.scripts, snapshots, withdrawals)
        self.submission = Submission(settings, self.registry, self.commits, snapshots, podman)
        self.results = Results(settings, self.registry)
        self.status = HostStatus(queue, units, podman)
        self.preparation = Preparation(
            settings, self.commits, snapshots, units=units, podman=podman, hooks=hooks
        )
        self.leftovers = Leftovers(settings, self.registry, units, podman)
        self.reconciler = Reconciler(
            settings,
            self.registry,
            self.results,
            queue,
            self.preparation,
            self.leftovers,
            compiler=compiler,
            units=units,
            podman=podman,
            exit_of=exit_of,
        )
        self.withdrawal_guard = WithdrawalGuard(withdrawals, self.registry, self.reconciler)
