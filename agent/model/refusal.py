"""What pydantic refuses, in the words of this agent."""

from pydantic import ValidationError

Location = tuple[int | str, ...]

MISSING = "is missing"
SENTENCES = {
    "missing": MISSING,
    "string_unicode": "must be Unicode text; half of a surrogate pair is not, not even in a name",
}


def refusals(error: ValidationError, *, unknown: str) -> list[tuple[Location, str]]:
    """Each refused value: where it is, and what is wrong with it. `unknown` is said about an unknown name."""
    sentences = SENTENCES | {"extra_forbidden": unknown}
    return [
        (
            # pydantic marks a refused name of a dictionary by one more part.
            tuple(part for part in detail["loc"] if part != "[key]"),
            sentences.get(detail["type"]) or _sentence(detail["msg"]),
        )
        for detail in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ").replace("String should", "should")
