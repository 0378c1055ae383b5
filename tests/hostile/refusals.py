"""What every answer to a hostile request must be like."""

import json
import re
from typing import Any

from tests.support.openapi import Document

MAX_REFUSAL = 4096  # bytes; what a client sent comes back cut short
HEADERS = {
    "accept-ranges",
    "allow",
    "cache-control",
    "connection",
    "content-disposition",
    "content-length",
    "content-range",
    "content-type",
    "date",
    "etag",
    "location",
    "retry-after",
    "server",
    "transfer-encoding",
    "x-content-type-options",
}


def check_headers(headers: list[tuple[str, str]]) -> None:
    """Nothing but the agent's own headers, once each, and nobody guesses at what the body is."""
    names = [name.lower() for name, _ in headers]
    assert set(names) <= HEADERS, names
    assert len(names) == len(set(names)), names
    values = {name.lower(): value for name, value in headers}
    assert values["x-content-type-options"] == "nosniff"
    assert values["server"] == "ml-agent"
    assert re.fullmatch(r"(/jobs/[a-z2-7]{12})?", values.get("location", "")), values
    assert values.get("content-disposition", "attachment") == "attachment"


def check_refusal(document: Document, status: int, content_type: str, body: bytes) -> list[str]:
    """A problem document of bounded size; returns the refused fields."""
    assert 400 <= status < 500, (status, body)
    assert content_type.partition(";")[0] == "application/problem+json", (content_type, body)
    assert len(body) <= MAX_REFUSAL, len(body)
    problem: dict[str, Any] = json.loads(body)
    document.validate({"$ref": "#/components/schemas/ProblemDocument"}, problem)
    assert problem["status"] == status
    if status == 422:
        assert problem.get("errors"), problem
    return [error["field"] for error in problem.get("errors", [])]
