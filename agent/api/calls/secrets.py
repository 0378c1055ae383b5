"""One's own secrets: listed, set and removed. No call answers with a value."""

from aiohttp import web
from pydantic import Field

from ...audit.trail import TRAIL
from ...host.tasks import to_its_end
from ...model.base import Model, SecretName
from ...model.secret import SecretChange, SecretEntry, SecretList
from ...secrets.secrets import Credentials
from ..server.identity import CALLER, PRINCIPAL
from ..server.requests import read_bytes, validate
from .jobs import JOBS, answer

CREDENTIALS = web.AppKey("credentials", Credentials)
MAX_SECRETS = web.AppKey("max_secrets", int)  # of each user


class _Path(Model):
    name: SecretName = Field()


async def list_secrets(request: web.Request) -> web.Response:
    """The secrets that one's jobs could get: one's own and those for everybody; never their values."""
    return answer(SecretList(secrets=await request.app[CREDENTIALS].of(request[PRINCIPAL].user)))


async def set_secret(request: web.Request) -> web.Response:
    """Sets a secret of one's own, in place of an earlier value. The body is the value, byte for byte."""
    name, user, value = _name(request), request[PRINCIPAL].user, await read_bytes(request)

    async def change() -> SecretChange:
        changed = await request.app[CREDENTIALS].set(
            name,
            user,
            value,
            running=request.app[JOBS].begun(user),
            limit=request.app[MAX_SECRETS],
        )
        await request.app[TRAIL].done(request[CALLER], "setSecret", name)
        return changed

    return answer(await to_its_end(change()))


async def remove_secret(request: web.Request) -> web.Response:
    """Removes a secret of one's own; jobs that run keep what they were given."""
    name = _name(request)

    async def change() -> SecretEntry:
        removed = await request.app[CREDENTIALS].remove(name, request[PRINCIPAL].user)
        await request.app[TRAIL].done(request[CALLER], "removeSecret", name)
        return removed

    return answer(await to_its_end(change()))


def _name(request: web.Request) -> SecretName:
    return validate(_Path, request.match_info).name
