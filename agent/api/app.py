"""The web application, put together from the table of routes."""

from aiohttp import web

from ..audit import trail
from ..identity.certificates import Certificates
from ..jobs.assembly import Jobs
from ..jobs.changes import Changes
from ..logs.journal import Journal
from ..logs.metrics_reader import MetricsReader
from ..secrets.secrets import Credentials
from . import access, openapi, routes
from .calls.events import CHANGES, METER
from .calls.jobs import CERTIFICATES, JOBS
from .calls.logs import JOURNAL, STREAMS
from .calls.secrets import CREDENTIALS, MAX_SECRETS
from .server import connections, identity, problems, rates, requests
from .server.streams import Streams


def build(
    *,
    jobs: Jobs,
    journal: Journal,
    changes: Changes,
    meter: MetricsReader,
    certificates: Certificates,
    credentials: Credentials,
    write_audit: trail.Write,
    max_body_bytes: int,
    body_seconds: float,
    requests_per_second: float,
    request_burst: int,
    max_streams: int,
    max_streams_per_user: int,
    max_secrets_per_user: int,
) -> web.Application:
    """The application: problem documents outermost, then who is asking and how often, then guarded routes."""
    audited, asked = trail.Trail(write_audit), rates.Rates(requests_per_second, request_burst)
    app = web.Application(
        middlewares=[
            problems.middleware,
            connections.admit,
            rates.of_the_refused(asked),
            identity.middleware(certificates, audited),
            rates.of_users(asked),
            requests.bodies(max_body_bytes, body_seconds),
        ],
        client_max_size=max_body_bytes,
    )
    app[CERTIFICATES] = certificates
    app[JOBS] = jobs
    app[JOURNAL] = journal
    app[CHANGES] = changes
    app[STREAMS] = Streams(max_streams, max_streams_per_user)
    app[METER] = meter
    app[trail.TRAIL] = audited
    app[CREDENTIALS] = credentials
    app[MAX_SECRETS] = max_secrets_per_user
    guard = access.Guard(jobs, audited)
    routes.add_to(app, guard)
    app.router.add_route("GET", "/openapi.json", guard.before("getOpenapi", openapi.get_openapi))
    guard.demand_all(app)

    async def end_streams(app: web.Application) -> None:
        app[STREAMS].end_all()

    app.on_shutdown.append(end_streams)

    async def set_headers_of_all(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = problems.SERVER
        response.headers.update(problems.NO_GUESSING)

    app.on_response_prepare.append(set_headers_of_all)
    app.on_response_prepare.append(problems.note_begun)
    return app
