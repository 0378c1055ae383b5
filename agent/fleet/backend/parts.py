"""Everything behind the API of a front, over the record and the agents of the hosts."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from ...audit.trail import Write
from ...backend import Backend
from ...config import JobSettings, RetentionSettings
from ...host.tasks import background
from ...identity.key_files import certificates
from ...jobs.changes import Changes
from ..members import RecordMembers
from ..record import Record
from ..secrets import FleetSecrets
from .artifacts import FleetArtifacts
from .changes import RecordChanges
from .hosts import Hosts
from .jobs import FleetJobs
from .logs import FleetLogs
from .metrics import FleetMetrics
from .overview import FleetOverview
from .submissions import Announcer, FleetSubmissions


@dataclass(frozen=True, kw_only=True)
class FrontParts:
    """What a front needs. `publish` puts a ticket into the queue of a need, `audit` commits a row.

    `authority` is the file with the certificate of the fleet's authority.
    """

    record: Record
    hosts: Hosts
    publish: Callable[[str], Awaitable[None]]
    jobs: JobSettings
    retention: RetentionSettings
    authority: Path
    max_secrets_per_user: int
    audit: Write

    @contextlib.asynccontextmanager
    async def backend(self) -> AsyncIterator[Backend]:
        """The backend, while its parts run."""
        source = RecordChanges(self.record)
        changes = Changes(source)
        jobs = FleetJobs(self.record, self.hosts, self.retention, self.audit)
        announcer = Announcer(self.publish)
        overview = FleetOverview(self.record, self.hosts)
        async with background(source.run()):
            try:
                yield Backend(
                    submissions=FleetSubmissions(
                        self.record, self.hosts, jobs, announcer, self.jobs, self.retention, self.audit
                    ),
                    scripts=overview,
                    jobs=jobs,
                    host=overview,
                    artifacts=FleetArtifacts(self.hosts),
                    logs=FleetLogs(self.hosts, jobs, changes),
                    metrics=FleetMetrics(self.hosts),
                    changes=changes,
                    secrets=FleetSecrets(
                        self.record,
                        lambda: certificates(self.authority),
                        running=jobs.running,
                        write_audit=self.audit,
                        limit=self.max_secrets_per_user,
                    ),
                    members=RecordMembers(self.record),
                )
            finally:
                await announcer.close()
