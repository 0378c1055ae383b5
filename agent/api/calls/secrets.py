"""One's own secrets: listed, set and removed. No call answers with a value."""

from aiohttp import web
from pydantic import Field

from ...model.base import Model, SecretName
from ...model.secret import SecretList
from ..keys import BACKEND
from ..server.identity import CALLER, PRINCIPAL
from ..server.requests import read_bytes, validate
from .jobs import answer


class _Path(Model):
    name: SecretName = Field()


async def list_secrets(request: web.Request) -> web.Response:
    """The secrets that one's jobs could get: one's own and those for everybody; never their values."""
    return answer(SecretList(secrets=await request.app[BACKEND].secrets.of(request[PRINCIPAL].user)))


async def set_secret(request: web.Request) -> web.Response:
    """Sets a secret of one's own, in place of an earlier value. The body is the value, byte for byte."""
    name, value = _name(request), await read_bytes(request)
    return answer(await request.app[BACKEND].secrets.set(name, value, by=request[CALLER]))


async def remove_secret(request: web.Request) -> web.Response:
    """Removes a secret of one's own; jobs that run keep what they were given."""
    return answer(await request.app[BACKEND].secrets.remove(_name(request), by=request[CALLER]))


def _name(request: web.Request) -> SecretName:
    return validate(_Path, request.match_info).name
