"""Where the application keeps what its handlers need."""

from aiohttp import web

from ..audit.trail import Trail
from ..backend import Backend
from ..identity.certificates import Certificates
from .server.streams import Streams

BACKEND = web.AppKey("backend", Backend)
CERTIFICATES = web.AppKey("certificates", Certificates)
STREAMS = web.AppKey("streams", Streams)
TRAIL = web.AppKey("trail", Trail)
