"""The web application, put together from the table of routes."""

from aiohttp import web

from ..changes import Changes
from ..credentials import Credentials
from ..jobs import Jobs
from ..journal import Journal
from ..meter import Meter
from . import identity, openapi, problems, routes
from .events import CHANGES, METER
from .handlers import JOBS
from .logs import JOURNAL, STREAMS
from .secrets import CREDENTIALS, MAX_SECRETS
from .streams import Streams


def build(
    *,
    jobs: Jobs,
    journal: Journal,
    changes: Changes,
    meter: Meter,
    credentials: Credentials,
    identify: identity.Identify,
    max_body_bytes: int,
    max_streams: int,
    max_streams_per_user: int,
    max_secrets_per_user: int,
) -> web.Application:
    """The application: problem documents outermost, then who is asking, then the routes."""
    app = web.Application(
        middlewares=[problems.middleware, identity.middleware(identify)], client_max_size=max_body_bytes
    )
    app[JOBS] = jobs
    app[JOURNAL] = journal
    app[CHANGES] = changes
    app[STREAMS] = Streams(max_streams, max_streams_per_user)
    app[METER] = meter
    app[CREDENTIALS] = credentials
    app[MAX_SECRETS] = max_secrets_per_user
    routes.add_to(app)
    app.router.add_route("GET", "/openapi.json", openapi.get_openapi)

    async def end_streams(app: web.Application) -> None:
        app[STREAMS].end_all()

    app.on_shutdown.append(end_streams)

    async def name_the_server(_: web.Request, response: web.StreamResponse) -> None:
        # Not the versions of what it is made of, which aiohttp would name.
        response.headers["Server"] = "ml-agent"

    app.on_response_prepare.append(name_the_server)
    app.on_response_prepare.append(problems.note_begun)
    return app
