"""The calls about the client's own secrets. No call answers with a value."""

from aiohttp import web
from pydantic import Field

from ...model.base import Model, SecretName
from ...model.secret import SecretList
from ..keys import BACKEND
from ..server.identity import CALLER, PRINCIPAL
from ..server.requests import read_bytes, validate
from ..server.responses import json_response


class _Path(Model):
    name: SecretName = Field()


async def list_secrets(request: web.Request) -> web.Response:
    """Lists the secrets that your jobs may get: your own and those for everybody, without their values."""
    return json_response(SecretList(secrets=await request.app[BACKEND].secrets.of(request[PRINCIPAL].user)))


async def set_secret(request: web.Request) -> web.Response:
    """Sets a secret of your own and replaces an earlier value. The body is the value, byte for byte."""
    name, value = _name(request), await read_bytes(request)
    return json_response(await request.app[BACKEND].secrets.set(name, value, by=request[CALLER]))


async def remove_secret(request: web.Request) -> web.Response:
    """Removes a secret of your own. Running jobs keep the value that they were given."""
    return json_response(await request.app[BACKEND].secrets.remove(_name(request), by=request[CALLER]))


def _name(request: web.Request) -> SecretName:
    return validate(_Path, request.match_info).name
