"""Answers that are JSON."""

from aiohttp import web

from ...model.base import Model


def json_response(model: Model, *, status: int = 200, location: str | None = None) -> web.Response:
    """The model as JSON. An absent field is left out, never null. `location` becomes the Location header."""
    return web.Response(
        status=status,
        body=model.model_dump_json(exclude_none=True).encode(),
        content_type="application/json",
        headers={"Location": location} if location else None,
    )
