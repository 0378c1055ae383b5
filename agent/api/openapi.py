"""The OpenAPI 3.1 document, generated from the route table and the models."""

import functools
import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import web
from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from .. import __version__
from ..errors import Problem
from ..model.alias import ModelName
from ..model.base import Model, OpenEnum, SecretName
from ..model.problem import ProblemDocument
from .access import TABLE, Audited
from .calls.page import ASSETS
from .route import BYTES, EVENTS, Empty, Header, Route
from .routes import ROUTES
from .server.problems import CONTENT_TYPE, RETRY_AFTER

OPEN: list[type[OpenEnum]] = OpenEnum.__subclasses__()
REF = "#/components/schemas/{model}"
PATH_PARAMETERS = {
    "job_id": {"type": "string", "pattern": "^[a-z2-7]{12}$"},
    "other_id": {"type": "string", "pattern": "^[a-z2-7]{12}$"},
    "sweep_id": {"type": "string", "pattern": "^[a-z2-7]{12}$"},
    "schedule_id": {"type": "string", "pattern": "^[a-z2-7]{12}$"},
    "name": TypeAdapter(SecretName).json_schema(),
    "model": TypeAdapter(ModelName).json_schema(),
    "alias": TypeAdapter(ModelName).json_schema(),
    "asset": {"type": "string", "enum": list(ASSETS)},
}
# Problems that any request may be answered with.
ALWAYS = (
    Problem.MALFORMED_REQUEST,
    Problem.CERTIFICATE_REFUSED,
    Problem.INTERNAL,
    Problem.STOPPING,
    Problem.TOO_MANY_REQUESTS,
)
OF_A_BODY = (
    Problem.INVALID_JSON,
    Problem.BODY_TOO_LARGE,
    Problem.UNSUPPORTED_MEDIA_TYPE,
    Problem.REQUEST_TIMEOUT,
)


async def get_openapi(request: web.Request) -> web.Response:
    """The OpenAPI document."""
    return web.Response(text=document(), content_type="application/json")


@functools.cache
def document() -> str:
    """The document as JSON text. It does not change while the program runs."""
    return json.dumps(described(ROUTES), indent=1)


def described(routes: Sequence[Route]) -> dict[str, Any]:
    """The document of these calls."""
    definitions, schemas = _schemas(routes)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ml-agent",
            "version": __version__,
            "description": "Training jobs as rootless Podman units. A client certificate is required.",
        },
        "security": [{"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "certificate": {
                    "type": "mutualTLS",
                    "description": "A client certificate of the host's own authority.",
                },
                "invitation": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The one-time code of `ml-agent invite`.",
                },
            },
        },
    }


Key = tuple[type[Model], Literal["validation", "serialization"]]


def _schemas(routes: Sequence[Route]) -> tuple[dict[str, Any], dict[Key, dict[str, Any]]]:
    """The components, and a reference to each model as the agent reads it or sends it."""
    wanted: list[Key] = [(ProblemDocument, "serialization")]
    for route in routes:
        if isinstance(route.body, type) and route.body is not Empty:
            wanted.append((route.body, "validation"))
        if isinstance(route.answers, type):
            wanted.append((route.answers, "serialization"))
    references, definitions = models_json_schema(list(dict.fromkeys(wanted)), ref_template=REF)
    schemas: dict[str, Any] = definitions["$defs"]
    taken = _reached([references[key] for key in wanted if key[1] == "validation"], schemas)
    components = {
        name: _without_null(schema, sent=False) if name in taken else _open(_without_null(schema, sent=True))
        for name, schema in schemas.items()
    }
    return components, dict(references)  # type: ignore[arg-type]  # keyed by the classes that were given


def _reached(node: Any, schemas: dict[str, Any]) -> set[str]:
    """The names of the schemas that a part of the document refers to, directly or through others."""
    names = set(re.findall(REF.format(model=r"(\w+)"), json.dumps(node)))
    return names.union(*(_reached(schemas[name], schemas) for name in names))


def _open(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema of what the agent sends, open for the members and reasons of a later version (docs/api.md).

    A reason, for example, is a plain string with the present reasons as examples. Generated clients refuse
    unknown members of a closed schema; with `additionalProperties: true` they would have to keep them.
    """
    opened = {
        key: _open(value) if isinstance(value, dict) else value
        for key, value in schema.items()
        if (key, value) != ("additionalProperties", False)
    }
    if "enum" in opened and any(set(opened["enum"]) <= set(each) for each in OPEN):
        opened["examples"] = opened.pop("enum")
    return opened


def _without_null(schema: dict[str, Any], *, sent: bool) -> dict[str, Any]:
    """An optional field is absent, never null: it has no `anyOf … null` and is not required.

    Every other field of what the agent sends is required, even if the model has a default for it.
    """
    optional = {
        name
        for name, field in schema.get("properties", {}).items()
        if {"type": "null"} in field.get("anyOf", [])
    }
    always = schema.get("properties", {}) if sent else schema.get("required", [])
    required = [name for name in always if name not in optional]
    properties = {name: _plain(field) for name, field in schema.get("properties", {}).items()}
    changed = {**schema, "properties": properties} if properties else dict(schema)
    changed.pop("required", None)
    return {**changed, "required": required} if required else changed


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    if "patternProperties" in field:
        # Other names are refused. Client generators only know this form.
        ((pattern, values),) = field.pop("patternProperties").items()
        names = {**field.get("propertyNames", {}), "pattern": pattern}
        field = {**field, "propertyNames": names, "additionalProperties": values}
    if isinstance(default := field.get("default"), dict):
        present = {key: value for key, value in default.items() if value is not None}
        field = {**field, "default": present}
    choices = [choice for choice in field.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) != 1:
        return field
    kept = {key: value for key, value in field.items() if key not in ("anyOf", "default")}
    return {**choices[0], **kept}


def _operation(route: Route, schemas: dict[Key, dict[str, Any]]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.operation_id,
        "tags": [route.path.split("/")[1]],
        "summary": (route.handler.__doc__ or "").strip().partition("\n")[0],
        "parameters": _parameters(route),
        "responses": {
            **{str(status): _response(route, schemas, status) for status in (route.status, *route.also)},
            **{str(status): _problem(schemas, status) for status in refusals(route)},
            "default": _problem(schemas),
        },
    }
    if TABLE[route.operation_id].anybody:
        operation["security"] = [{"invitation": []}]
    if route.body:
        content: dict[str, Any]
        if isinstance(route.body, str):
            content = {route.body: {"schema": {"type": "string", "format": "binary", "minLength": 1}}}
        else:
            nothing = {"type": "object", "additionalProperties": False}
            schema = nothing if route.body is Empty else schemas[(route.body, "validation")]
            content = {"application/json": {"schema": schema}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def refusals(route: Route) -> list[int]:
    """The status codes of a call's problems: those that follow from its parts, and its own."""
    found = [*ALWAYS, *route.refuses]
    found += [Problem.JOB_NOT_FOUND] if "{job_id}" in route.path else []
    found += [Problem.SWEEP_NOT_FOUND] if "{sweep_id}" in route.path else []
    found += [Problem.SCHEDULE_NOT_FOUND] if "{schedule_id}" in route.path else []
    found += [Problem.MODEL_NOT_FOUND] if "{model}" in route.path else []
    parsed = route.query or route.request_headers or isinstance(route.body, type)
    found += [Problem.INVALID_REQUEST] if parsed else []
    found += OF_A_BODY if route.body else []
    # The audit row of a look is written before the answer: a full disk refuses it.
    written = route.method != "GET" or TABLE[route.operation_id].audited is Audited.LOOK
    found += [Problem.STORAGE_FULL] if written else []
    return sorted({problem.status for problem in found})


def _response(route: Route, schemas: dict[Key, dict[str, Any]], status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if route.response_headers:
        answer["headers"] = {
            header.name: {"required": header.required, "schema": _header_schema(header)}
            for header in route.response_headers
        }
    if status == HTTPStatus.NOT_MODIFIED:
        return answer
    if isinstance(route.answers, type):
        content = {"application/json": {"schema": schemas[(route.answers, "serialization")]}}
        content |= {media_type: _content(BYTES) for media_type in route.also_as}
    else:
        content = {media_type: _content(media_type) for media_type in route.answers}
    return {**answer, "content": content}


def _content(media_type: str) -> dict[str, Any]:
    """The content of an answer that is not JSON. OpenAPI 3.1 has no schema for events: see docs/events.md."""
    if media_type == EVENTS:
        return {}
    return {"schema": {"type": "string", **({"format": "binary"} if media_type == BYTES else {})}}


def _problem(schemas: dict[Key, dict[str, Any]], status: int | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": "A problem document (RFC 9457)" if status is None else HTTPStatus(status).phrase
    }
    if status in RETRY_AFTER:
        answer["headers"] = {"Retry-After": {"required": True, "schema": {"type": "integer", "minimum": 1}}}
    return {**answer, "content": {CONTENT_TYPE: {"schema": schemas[(ProblemDocument, "serialization")]}}}


def _header_schema(header: Header) -> dict[str, Any]:
    known = {"type": "string", "pattern": header.pattern or None, "maxLength": header.max_length}
    return {name: value for name, value in known.items() if value is not None}


def _parameters(route: Route) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": PATH_PARAMETERS.get(name, {"type": "string", "minLength": 1}),
        }
        for name in re.findall(r"{(\w+)}", route.path)
    ]
    parameters += [
        {"name": header.name, "in": "header", "required": False, "schema": _header_schema(header)}
        for header in route.request_headers
    ]
    if route.query:
        schema = _without_null(route.query.model_json_schema(ref_template=REF), sent=False)
        for name, field in schema["properties"].items():
            parameters.append({"name": name, "in": "query", "required": False, "schema": field})
    return parameters
