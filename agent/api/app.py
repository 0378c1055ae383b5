"""The web application, assembled from the route table."""

from aiohttp import web

from ..audit.trail import CheckShare, Trail, Write, no_limit
from ..backend import Backend
from ..config_base import HttpSettings
from ..identity.certificates import Certificates, Enrolment
from . import openapi, routes
from .guard import Guard
from .keys import BACKEND, CERTIFICATES, ENROLMENT, LAG, OPAQUE, STREAMS
from .server import connections, identity, problems, rates, requests
from .server.lag import Lag
from .server.opaque import Opaque
from .server.streams import Streams


def build(
    backend: Backend,
    certificates: Certificates,
    enrolment: Enrolment,
    write_audit: Write,
    http: HttpSettings,
    id_key: bytes,
    check_audit_share: CheckShare = no_limit,
) -> web.Application:
    """The application: every route behind the guard. `id_key` seals ids (`Opaque`).

    Middlewares run in this order: problem documents, connection limits, the client's identity and for whom it
    asks, turns, rate limits, the body.
    """
    trail = Trail(write_audit, check_share=check_audit_share)
    limits = rates.Rates(http.requests_per_second, http.request_burst)
    app = web.Application(
        middlewares=[
            problems.middleware,
            connections.middleware,
            rates.limit_refused_certificates(limits),
            identity.middleware(certificates, trail),
            identity.on_behalf_of(fleet=backend.fleet is not None),
            rates.take_turns(),
            rates.limit_users(limits, http.max_body_bytes),
            requests.middleware(http.max_body_bytes, http.body_seconds),
        ],
        client_max_size=http.max_body_bytes,
    )
    app[BACKEND] = backend
    app[CERTIFICATES] = certificates
    app[ENROLMENT] = enrolment
    app[OPAQUE] = Opaque(id_key)
    app[STREAMS] = Streams(http.max_followers, http.max_followers_per_user)
    app[LAG] = Lag()
    app.cleanup_ctx.append(app[LAG].watched)
    guard = Guard(backend, trail)
    routes.add_to(app, guard)
    app.router.add_route("GET", "/openapi.json", guard.guard("getOpenapi", openapi.get_openapi))
    guard.check_all_guarded(app)
    app.on_shutdown.append(_end_streams)
    app.on_response_prepare.extend([rates.end_turn, problems.set_common_headers, problems.remember_begun])
    return app


async def _end_streams(app: web.Application) -> None:
    app[STREAMS].end_all()
