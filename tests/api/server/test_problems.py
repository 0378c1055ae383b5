"""Problem documents."""

import json

from agent.api.server.problems import respond
from agent.errors import AgentError, FieldError, Problem


def test_a_problem_may_repeat_bytes_of_a_header_that_are_no_text() -> None:
    # aiohttp decodes headers with "surrogateescape".
    sent = b"caf\xe9".decode("utf-8", "surrogateescape")
    error = AgentError(Problem.INVALID_REQUEST, sent, sent, (FieldError(sent, sent),))
    document = json.loads(respond(error).body)  # type: ignore[arg-type]
    said = [document["detail"], document["hint"], *document["errors"][0].values()]
    assert said == ["caf\\udce9"] * 4
