"""Where the application keeps what its handlers need."""

from aiohttp import web

from ..backend import Backend
from ..identity.certificates import Certificates, Enrolment
from .server.lag import Lag
from .server.opaque import Opaque
from .server.streams import Streams

BACKEND = web.AppKey("backend", Backend)
CERTIFICATES = web.AppKey("certificates", Certificates)
ENROLMENT = web.AppKey("enrolment", Enrolment)
LAG = web.AppKey("lag", Lag)
OPAQUE = web.AppKey("opaque", Opaque)
STREAMS = web.AppKey("streams", Streams)
