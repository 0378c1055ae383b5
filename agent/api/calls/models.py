"""The calls about models by name, and what their aliases point at."""

from collections.abc import Iterable
from typing import Annotated

from aiohttp import ETag, web
from pydantic import Field

from ...backend.experiments import Models
from ...errors import AgentError, Problem
from ...model.alias import Alias, AliasName, AliasTarget, Condition, ModelName
from ...model.base import Model
from ...model.readers import RequestedReaders
from ..access import MODEL, find_readable, visible_owner
from ..keys import BACKEND
from ..server.identity import CALLER, PRINCIPAL
from ..server.requests import json_response, read_body, read_query, validate
from .artifacts import serve
from .jobs import MAX_PAGE, Cursor, open_cursor, seal_cursor


class ModelQuery(Model):
    """The query of `GET /models`."""

    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 50


class _Path(Model):
    model: ModelName
    alias: AliasName


async def list_models(request: web.Request) -> web.Response:
    """Lists the models that you may see, newest first."""
    query = read_query(request, ModelQuery)
    page = await _models(request).page(
        reader=visible_owner(request),
        before=open_cursor(request, query.cursor, "models"),
        limit=query.limit,
    )
    following = seal_cursor(request, page.next_cursor, "models")
    return json_response(page.model_copy(update={"next_cursor": following}))


async def get_model(request: web.Request) -> web.Response:
    """Shows one model with its aliases."""
    return json_response(request[MODEL])


async def set_model_readers(request: web.Request) -> web.Response:
    """Lets the named users, or everybody, read a model, and nobody else."""
    body = await read_body(request, RequestedReaders)
    return json_response(await _models(request).set_readers(request[MODEL].model, body, by=request[CALLER]))


async def get_alias(request: web.Request) -> web.Response:
    """Shows what an alias points at."""
    return _answer(await _resolve(request))


async def set_alias(request: web.Request) -> web.Response:
    """Points an alias at an artifact of a job that has COMPLETED; the first alias makes the model yours."""
    models = _models(request)
    path, body = validate(_Path, request.match_info), await read_body(request, AliasTarget)
    known = request.get(MODEL)
    moved = await models.move(
        known.owner if known else request[PRINCIPAL].user,
        path.model,
        path.alias,
        await find_readable(request, body.job_id),
        body.path,
        condition=_condition(request),
        by=request[CALLER],
    )
    return _answer(moved)


async def remove_alias(request: web.Request) -> web.Response:
    """Removes an alias with its history; with its last alias, the model is gone."""
    alias = request.match_info["alias"]
    removed = await _models(request).remove(
        request[MODEL].model, alias, condition=_condition(request), by=request[CALLER]
    )
    return json_response(removed)


async def get_alias_history(request: web.Request) -> web.Response:
    """Lists what an alias has pointed at, the newest first."""
    alias = request.match_info["alias"]
    return json_response(await _models(request).history(request[MODEL].model, alias))


async def get_model_artifact(request: web.Request) -> web.StreamResponse:
    """Downloads what an alias points at, as the artifact itself; the SHA-256 is the entity tag."""
    backend, alias = request.app[BACKEND], await _resolve(request)
    job = await backend.jobs.get(alias.job_id)
    async with backend.artifacts.opened(job, alias.path) as file:
        if file.sha256 != alias.sha256:
            raise AgentError(
                Problem.ARTIFACT_NOT_FOUND,
                "The file was changed after the alias was moved to it.",
                "Move the alias to another artifact.",
            )
        return await serve(request, file)


async def _resolve(request: web.Request) -> Alias:
    return await _models(request).resolve(request[MODEL].model, request.match_info["alias"])


def _answer(alias: Alias) -> web.Response:
    response = json_response(alias)
    response.headers["ETag"] = f'"{alias.version}"'
    return response


def _condition(request: web.Request) -> Condition:
    """What If-Match and If-None-Match say. Weak tags never match (RFC 9110, section 13.1.1)."""
    match, none_match = request.if_match, request.if_none_match
    return Condition(None if match is None else _strong(match), _strong(none_match or ()))


def _strong(tags: Iterable[ETag]) -> frozenset[str]:
    return frozenset(each.value for each in tags if not each.is_weak)


def _models(request: web.Request) -> Models:
    """Raises `AgentError` (no-such-route) where there are none, as at a fleet's front."""
    if (models := request.app[BACKEND].models) is None:
        raise AgentError(
            Problem.NO_SUCH_ROUTE, "There are no models by name here.", "Ask a host of the fleet."
        )
    return models
