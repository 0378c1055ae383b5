"""Where the application keeps what its handlers need."""

from aiohttp import web

from ..backend import Backend
from ..identity.certificates import Certificates
from ..identity.invitations import Enrolment
from .server.streams import Streams

BACKEND = web.AppKey("backend", Backend)
CERTIFICATES = web.AppKey("certificates", Certificates)
ENROLMENT = web.AppKey("enrolment", Enrolment)
STREAMS = web.AppKey("streams", Streams)
