"""One call of the API, as the tables of routes have it."""

import re
from dataclasses import dataclass

from aiohttp.typedefs import Handler

from ..errors import Problem
from ..model.base import Model

TEXT = "text/plain"
HTML = "text/html"
OPENMETRICS = "application/openmetrics-text"
EVENTS = "text/event-stream"
JSON_LINES = "application/x-ndjson"
BYTES = "*/*"  # the media type follows from the name of the file


class Empty(Model):
    """The body of a call that needs no more than its path."""


@dataclass(frozen=True)
class Header:
    """A header of a request, or of an answer, and the form of its value.

    An answer always has it if it is `required`; a request never needs to.
    """

    name: str
    pattern: str = ""
    max_length: int | None = None
    required: bool = True


@dataclass(frozen=True)
class Route:
    """One call.

    `answers` is a model, or the media types of an answer that is not JSON. `also_as` are media types that a
    client may prefer to the model's JSON. `also` are the status codes of the answers to conditional and range
    requests. `refuses` are the problems of this call that do not follow from
    its path, query and body. `body` is a model, or the media type of a body that is not parsed; every call
    that changes something has one.
    """

    method: str
    path: str
    handler: Handler
    answers: type[Model] | tuple[str, ...]
    status: int = 200
    also: tuple[int, ...] = ()
    also_as: tuple[str, ...] = ()
    body: type[Model] | str | None = None
    query: type[Model] | None = None
    request_headers: tuple[Header, ...] = ()
    response_headers: tuple[Header, ...] = ()
    refuses: tuple[Problem, ...] = ()

    @property
    def operation_id(self) -> str:
        """The name of the handler, as the contract writes it: `getJob`."""
        return re.sub("_(.)", lambda match: match[1].upper(), self.handler.__name__)
