"""The agent's record: jobs, certificates and the audit, in one SQLite file."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from .aliases import ModelStore
from .audit import AuditStore
from .certificates import CertificateStore, InvitationStore
from .changes import ChangeStore
from .database import Database
from .drains import DrainStore
from .jobs import JobStore
from .retention import RetentionStore
from .schedules import ScheduleStore
from .search import SearchStore
from .secrets import SecretVersionStore
from .shares import ShareStore
from .summaries import SummaryStore
from .sweeps import SweepStore
from .tallies import TallyStore
from .usage import UsageStore
from .withdrawals import WithdrawalStore


class Store:
    """One database, and what reads and writes each part of it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.jobs = JobStore(database)
        self.retention = RetentionStore(database)
        self.changes = ChangeStore(database)
        self.certificates = CertificateStore(database)
        self.invitations = InvitationStore(database)
        self.audit = AuditStore(database)
        self.sweeps = SweepStore(database)
        self.summaries = SummaryStore(database)
        self.search = SearchStore(database)
        self.schedules = ScheduleStore(database)
        self.models = ModelStore(database)
        self.shares = ShareStore(database)
        self.tallies = TallyStore(database)
        self.usage = UsageStore(database)
        self.withdrawals = WithdrawalStore(database)
        self.drains = DrainStore(database)
        self.secret_versions = SecretVersionStore(database)

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncIterator["Store"]:
        """Opens the database as `Database.open` does."""
        async with Database.open(path) as database:
            yield cls(database)
