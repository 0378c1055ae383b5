import hashlib
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import AgentError, Problem
from agent.model.inputs import Limits
from agent.model.script import Parameter, ParameterType, Script
from agent.scripts.declaration import (
    Declaration,
    DeclarationError,
    check_parameters,
    describe,
    parse_block,
    with_defaults,
)

INVALID = Problem.INVALID_REQUEST
HEAD = '#!/usr/bin/env python3\n"""Trains."""\n'


def block(toml: str) -> str:
    lines = [f"# {line}" if line else "#" for line in textwrap.dedent(toml).strip("\n").split("\n")]
    return "\n".join(["# /// ml-job", *lines, "# ///"]) + "\n"


def malformed(text: str) -> str:
    with pytest.raises(DeclarationError) as caught:
        parse_block(text)
    return str(caught.value)


def script(*parameters: Parameter) -> Script:
    return Script(script_name="train.py", sha256="", parameters=list(parameters))


def objections(script: Script, hyperparameters: dict[str, str]) -> dict[str, str]:
    try:
        check_parameters(script, hyperparameters)
    except AgentError as error:
        return {field.field: field.message for field in error.fields if error.problem is INVALID}
    return {}


def test_a_block_may_declare_every_key() -> None:
    text = HEAD + block("""
        description = "Predicts who leaves."
        secrets = ["snowflake"]
        network = "warehouse"
        artifacts = ["model.joblib", "plots/größe 100%.png"]

        [[parameters]]
        name = "n_estimators"
        type = "integer"
        default = 100
        minimum = 1
        maximum = 5000

        [[parameters]]
        name = "criterion"
        choices = ["gini", "entropy"]
        required = true

        [limits]
        memory_bytes = 1_073_741_824
        cpus = 2
    """)
    assert parse_block(text) == Declaration(
        description="Predicts who leaves.",
        secrets=["snowflake"],
        network="warehouse",
        parameters=[
            Parameter(
                name="n_estimators", type=ParameterType.INTEGER, default="100", minimum=1, maximum=5000
            ),
            Parameter(name="criterion", choices=["gini", "entropy"], required=True),
        ],
        limits=Limits(memory_bytes=2**30, cpus=2.0),
        artifacts=["model.joblib", "plots/größe 100%.png"],
    )


@pytest.mark.parametrize(
    "text",
    ["", HEAD, "# /// script\n# dependencies = []\n# ///\n", "    # /// ml-job\n", "# see /// ml-job\n"],
)
def test_a_script_without_a_block_declares_nothing(text: str) -> None:
    assert parse_block(text) is None


def test_a_block_may_follow_other_text_and_a_block_of_another_type() -> None:
    text = "# /// script\n# dependencies = []\n# ///\n\n" + HEAD + block('description = "x"') + "print(1)\n"
    assert parse_block(text) == Declaration(description="x")


def test_windows_line_ends_and_a_byte_order_mark_are_accepted() -> None:
    text = block('description = "x"').replace("\n", "\r\n")
    assert describe("a.py", b"\xef\xbb\xbf" + text.encode()).description == "x"


def test_text_of_several_lines_keeps_its_line_breaks() -> None:
    assert parse_block(block('description = """\none\n\n  two"""')) == Declaration(description="one\n\n  two")


def test_defaults_and_choices_may_be_toml_numbers_and_booleans() -> None:
    found = parse_block(
        block("""
        [[parameters]]
        name = "balanced"
        type = "boolean"
        default = true
        [[parameters]]
        name = "rate"
        type = "number"
        default = 1e-3
        choices = [1e-3, 0.5]
    """)
    )
    assert found is not None
    assert [(parameter.default, parameter.choices) for parameter in found.parameters] == [
        ("true", []),
        ("0.001", ["0.001", "0.5"]),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (HEAD + "# /// ml-job\n# description = 1\n", "line 3: the block must begin with"),
        ("# /// ml-job\n# ///\n", "line 1: the block must begin with"),
        ("# /// ml-job\nx = 1\n# ///\n", "line 1: the block must begin with"),
        ("#/// ml-job\n# x = 1\n# ///\n", "line 1: the block must begin with"),
        ("# /// ml-job\n#x = 1\n# ///\n", "line 1: the block must begin with"),
        (block("") + "\n" + block(""), "line 5: only one ml-job block is allowed"),
        (HEAD + block("description = "), "Invalid value (at line 4)"),
        (block('a = 1\nb = "'), 'line 3)'),
        (block("x = " + "[" * 20_000), "nested too deeply"),
        (block("x = " + "9" * 5_000), "digits"),
        (block('[[parameters]]\nname = "x"\ndefault = 0x' + "f" * 5_000), "digits"),
    ],
)  # fmt: skip
def test_a_malformed_block_is_refused_with_its_line(text: str, complaint: str) -> None:
    assert complaint in malformed(text)


@pytest.mark.parametrize(
    ("toml", "complaint"),
    [
        ('descripton = "x"', "descripton: is no key of an ml-job block"),
        ("description = 1", "description: must be a string"),
        ('secrets = ["Not A Name"]', "secrets.0: must match pattern"),
        ('network = "host;"', "network: must match pattern"),
        ('[limits]\nmemory_bytes = "2G"', "limits.memory_bytes: must be an integer"),
        ("[limits]\ncpus = inf", "limits.cpus: "),
        *(
            (f"artifacts = [{path!r}]", "artifacts.0: must be a file's path in /artifacts")
            for path in ("", "/artifacts/m", "../m", "plots/", "a//b", "./m", ".")
        ),
        ('artifacts = ["a\\nb"]', "artifacts.0: must not contain control characters"),
        (f"artifacts = ['{'x' * 256}']", "artifacts.0: must have at most 255 characters"),
        (f"artifacts = {['x'] * 101}", "artifacts: must have at most 100 entries"),
        ("parameters = 1", "parameters: must be a list"),
        ("parameters = [1]", "parameters.1: must be an object (in TOML, a table)"),
        ("[[parameters]]\ntype = 'integer'", "parameters.1.name: is missing"),
        ("[[parameters]]\nname = 'LD-X'", "parameters.LD-X.name: must match pattern"),
        ("[[parameters]]\nname = 'x'\ntype = 'float'", "parameters.x.type: must be 'string'"),
        ("[[parameters]]\nname = 'x'\nmin = 1", "parameters.x.min: is no key of an ml-job block"),
        (
            "[[parameters]]\nname = 'x'\n[[parameters]]\nname = 'X'",
            "parameters.X: HP_X is already the variable of x",
        ),
        (
            "[[parameters]]\nname = 'x'\n[[parameters]]\nname = 'x'",
            "parameters.x: HP_X is already the variable of x",
        ),
        ("[[parameters]]\nname = 'x'\nminimum = 1", "parameters.x: only an integer or a number may have a"),
        ("[[parameters]]\nname = 'x'\ntype = 'number'\nminimum = nan", "parameters.x: minimum and maximum"),
        (
            "[[parameters]]\nname = 'x'\ntype = 'number'\nminimum = 2\nmaximum = 1",
            "parameters.x: minimum and maximum must be finite, and in order",
        ),
        (
            "[[parameters]]\nname = 'x'\nrequired = true\ndefault = 'a'",
            "parameters.x.default: a required parameter cannot have one",
        ),
        (
            "[[parameters]]\nname = 'x'\nchoices = ['a']\ndefault = 'b'",
            "parameters.x.default: b must be one of a",
        ),
        (
            "[[parameters]]\nname = 'x'\ntype = 'integer'\nminimum = 1\ndefault = 0",
            "parameters.x.default: 0 must be at least 1",
        ),
        (
            "[[parameters]]\nname = 'x'\ntype = 'integer'\nchoices = ['one']",
            "parameters.x.choices: one must be an integer",
        ),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_key(toml: str, complaint: str) -> None:
    assert complaint in malformed(block(toml))


def test_a_script_is_described_by_its_bytes() -> None:
    found = describe("a.py", b"print(1)\n")
    assert found.sha256 == hashlib.sha256(b"print(1)\n").hexdigest()
    assert (found.script_name, found.any_parameters, found.network) == ("a.py", True, "none")


def test_a_script_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(DeclarationError, match="byte 2: a script must be UTF-8 text"):
        describe("a.py", b"# \xff\n")


@given(st.text())
def test_any_text_has_a_block_or_none_or_is_refused(text: str) -> None:
    for candidate in (text, "# /// ml-job\n# " + text.replace("\n", "\n# ") + "\n# ///\n"):
        try:
            parse_block(candidate)
        except DeclarationError:
            continue


def test_a_script_without_a_block_accepts_any_parameters() -> None:
    check_parameters(describe("a.py", b""), {"anything": "at all"})


def test_a_script_with_a_block_accepts_only_declared_parameters() -> None:
    assert objections(describe("a.py", block("description = 'x'").encode()), {"depth": "3"}) == {
        "hyperparameters.depth": "is no parameter of this script"
    }


def test_a_misspelt_parameter_is_refused_with_the_right_name() -> None:
    declared = script(Parameter(name="n_estimators"))
    for name in ("n_estimator", "N_ESTIMATORS"):
        assert objections(declared, {name: "3"}) == {
            f"hyperparameters.{name}": "is no parameter of this script; did you mean n_estimators?"
        }


def test_all_refused_values_are_named_at_once() -> None:
    declared = script(
        Parameter(name="depth", type=ParameterType.INTEGER),
        Parameter(name="target", required=True),
        Parameter(name="rate", type=ParameterType.NUMBER, default="0.1"),
    )
    assert objections(declared, {"depth": "deep", "other": "1", "rate": "0.5"}) == {
        "hyperparameters.depth": "must be an integer, such as 12",
        "hyperparameters.other": "is no parameter of this script",
        "hyperparameters.target": "is required",
    }


@pytest.mark.parametrize(
    ("kind", "taken", "refused"),
    [
        (
            ParameterType.INTEGER,
            ["1", "-3", "+3", "10", "007"],
            ["", "1.0", "1e3", "0x1", "1_0", " 1", "1\n", "٣", "nan", "11", "-4", "1" * 4096],
        ),
        (
            ParameterType.NUMBER,
            ["1", "-3.0", "1e1", ".5", "5.", "+2.5E-3", "1e-9999"],
            ["", ".", "nan", "inf", "-Infinity", "1e999", "-3.01", "10.5", "1,5", "0x1p3", "1_0.0", "٣"],
        ),
        (ParameterType.BOOLEAN, ["true", "false"], ["", "True", "1", "yes", "true ", "0"]),
    ],
)
def test_a_value_must_match_its_type_and_lie_within_its_bounds(
    kind: ParameterType, taken: list[str], refused: list[str]
) -> None:
    bounds = {} if kind is ParameterType.BOOLEAN else {"minimum": -3.0, "maximum": 10.0}
    declared = script(Parameter(name="x", type=kind, **bounds))
    assert [value for value in taken if objections(declared, {"x": value})] == []
    assert [value for value in refused if not objections(declared, {"x": value})] == []


def test_messages_show_bounds_and_choices_as_the_script_wrote_them() -> None:
    declared = script(
        Parameter(name="n", type=ParameterType.INTEGER, minimum=1, maximum=1_000_000),
        Parameter(name="rate", type=ParameterType.NUMBER, minimum=0.001),
        Parameter(name="kind", choices=["a", "b"]),
    )
    assert objections(declared, {"n": "1000001", "rate": "0", "kind": "A"}) == {
        "hyperparameters.n": "must be at most 1000000",
        "hyperparameters.rate": "must be at least 0.001",
        "hyperparameters.kind": "must be one of a, b",
    }


@pytest.mark.parametrize(
    ("kind", "choices", "taken", "refused"),
    [
        (
            ParameterType.NUMBER,
            ["0.1", "0.01", "1"],
            ["0.1", "0.10", "1e-1", ".1", "1.0", "+1", "1E0", "1e-2"],
            ["0.11", "2"],
        ),
        (ParameterType.INTEGER, ["1", "20"], ["1", "+1", "01", "20"], ["2", "-1"]),
        (ParameterType.STRING, ["0.1", "1"], ["0.1", "1"], ["0.10", "1.0", "1e-1"]),
        (ParameterType.BOOLEAN, ["true"], ["true"], ["false"]),
    ],
)
def test_a_choice_is_compared_as_the_script_reads_it(
    kind: ParameterType, choices: list[str], taken: list[str], refused: list[str]
) -> None:
    declared = script(Parameter(name="x", type=kind, choices=choices))
    assert [value for value in taken if objections(declared, {"x": value})] == []
    assert [value for value in refused if not objections(declared, {"x": value})] == []


def test_a_default_may_be_written_otherwise_than_its_choice() -> None:
    toml = "[[parameters]]\nname = 'x'\ntype = 'number'\nchoices = [0.1, 1]\ndefault = '1e-1'"
    (parameter,) = describe("a.py", block(toml).encode()).parameters
    assert parameter.default == "1e-1"


@given(st.integers(-(2**70), 2**70))
def test_an_integer_is_accepted_exactly_within_its_bounds(value: int) -> None:
    declared = script(Parameter(name="x", type=ParameterType.INTEGER, minimum=-5, maximum=2**53))
    assert bool(objections(declared, {"x": str(value)})) is not (-5 <= value <= 2**53)


@given(st.text(max_size=50))
def test_any_text_for_a_number_is_refused_or_reads_as_a_number(value: str) -> None:
    declared = script(Parameter(name="x", type=ParameterType.NUMBER))
    if not objections(declared, {"x": value}):
        float(value)


def test_a_run_has_the_defaults_of_what_was_not_given() -> None:
    declared = script(
        Parameter(name="alpha", default="0.5"), Parameter(name="depth", default="3"), Parameter(name="seed")
    )
    assert with_defaults(declared, {"depth": "7"}) == {"depth": "7", "alpha": "0.5"}
    assert with_defaults(declared, {"alpha": "", "depth": "3"}) == {"alpha": "", "depth": "3"}


@pytest.mark.parametrize("count", [9, 101])
def test_defaults_count_for_the_bounds_of_hyperparameters(count: int) -> None:
    default = "x" * (4096 if count < 10 else 1)
    declared = script(*(Parameter(name=f"p{number}", default=default) for number in range(count)))
    with pytest.raises(AgentError) as refused:
        with_defaults(declared, {})
    assert refused.value.problem is INVALID
    assert [field.field for field in refused.value.fields] == ["hyperparameters"]


def test_a_default_is_no_longer_than_a_value() -> None:
    long = "x" * 4097
    assert "default" in malformed(
        block(f"""
        [[parameters]]
        name = "alpha"
        default = "{long}"
    """)
    )
