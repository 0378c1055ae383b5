"""Problem documents (RFC 9457), and what pydantic refuses in the words of this agent."""

import re
from typing import Any

from pydantic import ValidationError

from .base import Model

Location = tuple[int | str, ...]

MISSING = "is missing"
SENTENCES = {
    "missing": MISSING,
    "string_unicode": "must be Unicode text; half of a surrogate pair is not, not even in a name",
    "string_type": "must be a string",
    "int_type": "must be an integer",
    "int_parsing": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object (in TOML, a table)",
    "model_type": "must be an object (in TOML, a table)",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
}
# Pydantic counts "items" of text whose check follows another one, and of everything else.
COUNTED = {"Value": "characters", "Dictionary": "names", "List": "entries"}
_MEMBER = re.compile(r"<\w+\.\w+: ('[^']*')>")  # of an enumeration, as Python shows it


class FieldProblem(Model):
    """One refused value of a request."""

    field: str
    message: str


class ProblemDocument(Model):
    """RFC 9457. `type` ends in a stable code, `detail` says what is wrong, `hint` what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    hint: str | None = None
    errors: list[FieldProblem] = []


def refusals(error: ValidationError, *, unknown: str) -> list[tuple[Location, str]]:
    """Each refused value: where it is, and what is wrong with it. `unknown` is said about an unknown name."""
    return [
        (
            # pydantic marks a refused name of a dictionary by one more part.
            tuple(part for part in detail["loc"] if part != "[key]"),
            unknown
            if detail["type"] == "extra_forbidden"
            else _sentence(detail["type"], detail["msg"], detail.get("ctx", {})),
        )
        for detail in error.errors(include_url=False, include_input=False)
    ]


def _sentence(kind: str, message: str, context: dict[str, Any]) -> str:
    if kind in SENTENCES:
        return SENTENCES[kind].format_map(context)
    if kind in ("too_long", "too_short"):
        counted = COUNTED.get(context["field_type"], "entries")
        if kind == "too_long":
            return f"must have at most {context['max_length']} {counted}"
        least = context["min_length"]
        return "must not be empty" if least == 1 else f"must have at least {least} {counted}"
    message = _MEMBER.sub(r"\1", message.removeprefix("Value error, "))
    return re.sub(r"^(Input|String) should", "must", message)
