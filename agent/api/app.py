"""The web application, put together from the table of routes."""

from aiohttp import web

from ..audit.trail import Trail, Write
from ..backend import Backend
from ..identity.certificates import Certificates
from . import access, openapi, routes
from .keys import BACKEND, CERTIFICATES, STREAMS, TRAIL
from .server import connections, identity, problems, rates, requests
from .server.bounds import HttpBounds
from .server.streams import Streams


def build(
    backend: Backend, certificates: Certificates, write_audit: Write, http: HttpBounds
) -> web.Application:
    """The application: problem documents outermost, then who is asking and how often, then guarded routes."""
    trail, asked = Trail(write_audit), rates.Rates(http.requests_per_second, http.request_burst)
    app = web.Application(
        middlewares=[
            problems.middleware,
            connections.admit,
            rates.of_the_refused(asked),
            identity.middleware(certificates, trail),
            rates.of_users(asked),
            requests.bodies(http.max_body_bytes, http.body_seconds),
        ],
        client_max_size=http.max_body_bytes,
    )
    app[BACKEND] = backend
    app[CERTIFICATES] = certificates
    app[STREAMS] = Streams(http.max_followers, http.max_followers_per_user)
    app[TRAIL] = trail
    guard = access.Guard(backend.jobs, trail)
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
