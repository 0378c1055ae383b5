from agent.errors import AgentError, FieldError, Problem


def test_an_error_reads_as_what_is_wrong_what_helps_and_where() -> None:
    error = AgentError(
        Problem.INVALID_REQUEST,
        "The request is not valid.",
        "GET /openapi.json describes it.",
        (FieldError("script_name", "is missing"), FieldError("ref", "is unknown")),
    )
    assert str(error) == (
        "The request is not valid. GET /openapi.json describes it.\nscript_name: is missing\nref: is unknown"
    )


def test_an_error_without_a_hint_is_one_sentence() -> None:
    assert str(AgentError(Problem.HOST, "The bus is gone.")) == "The bus is gone."


def test_codes_can_be_the_last_part_of_a_uri() -> None:
    assert all(problem.replace("-", "").isalpha() and problem.islower() for problem in Problem)
