"""The web application, put together from the table of routes."""

from aiohttp import web

from ..changes import Changes
from ..jobs import Jobs
from ..journal import Journal
from ..meter import Meter
from . import identity, malformed, openapi, problems, routes
from .events import CHANGES, METER
from .handlers import JOBS
from .logs import JOURNAL, STREAMS
from .streams import Streams


def build(
    *,
    jobs: Jobs,
    journal: Journal,
    changes: Changes,
    meter: Meter,
    identify: identity.Identify,
    max_body_bytes: int,
    max_streams: int,
    max_streams_per_user: int,
) -> web.Application:
    """The application: problem documents outermost, then who is asking, then the routes."""
    malformed.install()
    app = web.Application(
        middlewares=[problems.middleware, identity.middleware(identify)], client_max_size=max_body_bytes
    )
    app[JOBS] = jobs
    app[JOURNAL] = journal
    app[CHANGES] = changes
    app[STREAMS] = Streams(max_streams, max_streams_per_user)
    app[METER] = meter
    routes.add_to(app)
    app.router.add_route("GET", "/openapi.json", openapi.get_openapi)

    async def end_streams(app: web.Application) -> None:
        app[STREAMS].end_all()

    app.on_shutdown.append(end_streams)

    async def set_headers_of_all(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = problems.SERVER
        response.headers.update(problems.NO_GUESSING)

    app.on_response_prepare.append(set_headers_of_all)
    app.on_response_prepare.append(problems.note_begun)
    return app
