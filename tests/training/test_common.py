"""What the example scripts share, and what each declares."""

import contextlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

from agent.model.script import Script
from agent.scripts.declaration import check_parameters, describe

SCRIPTS = Path(__file__).parents[2] / "scripts"
RUNNABLE = sorted(path.name for path in SCRIPTS.glob("*.py") if not path.name.startswith("_"))

DECLARATION = """\
# /// ml-job
# [[parameters]]
# name = "trees"
# type = "integer"
# default = "100"
# minimum = 1
# maximum = 500
#
# [[parameters]]
# name = "rate"
# type = "number"
# minimum = 0
#
# [[parameters]]
# name = "verbose"
# type = "boolean"
# default = "false"
#
# [[parameters]]
# name = "loss"
# default = "huber"
# choices = ["huber", "squared"]
#
# [[parameters]]
# name = "label"
# ///
"""


@pytest.fixture(scope="module")
def common() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_common", SCRIPTS / "_common.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "train.py"
    path.write_text(DECLARATION)
    return str(path)


def test_without_variables_the_declared_defaults_apply(common: ModuleType, script: str) -> None:
    assert common.hyperparameters(script) == {
        "trees": 100,
        "rate": None,
        "verbose": False,
        "loss": "huber",
        "label": None,
    }


def test_variables_are_converted_to_the_declared_types(
    common: ModuleType, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"TREES": "7", "RATE": "0.25", "VERBOSE": "True", "LOSS": "squared", "LABEL": "é $x"}
    for name, value in given.items():
        monkeypatch.setenv(f"HP_{name}", value)
    assert common.hyperparameters(script) == {
        "trees": 7,
        "rate": 0.25,
        "verbose": True,
        "loss": "squared",
        "label": "é $x",
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TREES", "many", "trees must be of type integer, not 'many'"),
        ("TREES", "1.5", "trees must be of type integer, not '1.5'"),
        ("TREES", "", "trees must be of type integer, not ''"),
        ("TREES", "0", "trees must be at least 1, not 0"),
        ("TREES", "501", "trees must be at most 500, not 501"),
        ("RATE", "nan", "rate must be at least 0, not nan"),
        ("VERBOSE", "yes", "verbose must be of type boolean, not 'yes'"),
        ("LOSS", "other", "loss must be one of huber, squared, not 'other'"),
    ],
)
def test_a_wrong_value_ends_the_script_with_status_2_and_one_line(
    common: ModuleType,
    script: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(f"HP_{name}", value)
    with pytest.raises(SystemExit) as stopped:
        common.hyperparameters(script)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"wrong hyperparameter: {message}\n"


def test_a_required_parameter_without_a_value_ends_the_script(
    common: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "train.py"
    path.write_text('# /// ml-job\n# parameters = [{ name = "year", required = true }]\n# ///\n')
    with pytest.raises(SystemExit) as stopped:
        common.hyperparameters(str(path))
    assert stopped.value.code == 2
    assert "year is required" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("total", "steps", "expected"),
    [
        (150, 10, [15, 30, 45, 60, 75, 90, 105, 120, 135, 150]),
        (3, 10, [1, 2, 3]),
        (1, 10, [1]),
        (7, 2, [4, 7]),
    ],
)
def test_milestones_end_with_the_total(
    common: ModuleType, total: int, steps: int, expected: list[int]
) -> None:
    assert common.milestones(total, steps) == expected


def test_progress_and_metrics_are_lines_of_a_mark_and_json(
    common: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    common.progress(3, 10)
    common.metric("loss", 0.5, step=3)
    lines = [line.split(" ", 1) for line in capsys.readouterr().out.splitlines()]
    assert [(mark, json.loads(value)) for mark, value in lines] == [
        ("::progress", {"done": 3, "total": 10}),
        ("::metric", {"name": "loss", "value": 0.5, "step": 3}),
    ]


class Connector(ModuleType):
    """In the place of snowflake.connector: a connection that remembers how it was made."""

    class errors:
        Error = type("Error", (Exception,), {})

    def __init__(self) -> None:
        super().__init__("snowflake.connector")
        self.options: dict[str, Any] = {}

    def connect(self, **options: Any) -> Any:
        self.options = options
        return contextlib.nullcontext(MagicMock())


@pytest.fixture
def connector(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Connector:
    made, package = Connector(), ModuleType("snowflake")
    package.connector = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "snowflake", package)
    monkeypatch.setitem(sys.modules, "snowflake.connector", made)
    monkeypatch.setenv("SNOWFLAKE_HOME", str(tmp_path))
    for name in ("JOB_ID", "JOB_OWNER", "JOB_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    return made


JOB = {"JOB_ID": "abcdefghij23", "JOB_OWNER": "alice", "JOB_COMMIT": "c" * 40}


def as_job(monkeypatch: pytest.MonkeyPatch, script: str = "/scripts/team/träin.py") -> None:
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [script])


def test_a_query_is_tagged_with_its_job(
    common: ModuleType, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_job(monkeypatch)
    common.query("SELECT 1")
    tag = connector.options["session_parameters"]["QUERY_TAG"]
    assert json.loads(tag) == {
        "ml_job": "abcdefghij23",
        "owner": "alice",
        "commit": "c" * 40,
        "script": "team/träin.py",
    }
    assert connector.options["connection_name"] == "default"


def test_the_parameters_of_the_connection_stay(
    common: ModuleType, connector: Connector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    as_job(monkeypatch)
    (tmp_path / "connections.toml").write_text(
        '[default]\nuser = "x"\n[default.session_parameters]\nTIMEZONE = "UTC"\nQUERY_TAG = "site"\n'
    )
    common.query("SELECT 1")
    parameters = connector.options["session_parameters"]
    assert parameters == {"TIMEZONE": "UTC", "QUERY_TAG": common.query_tag()}


@pytest.mark.parametrize("text", ["", "[default", "default = 1", "[default]\nsession_parameters = 1"])
def test_a_connection_without_parameters_is_left_to_the_connector(
    common: ModuleType, connector: Connector, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str
) -> None:
    as_job(monkeypatch)
    (tmp_path / "connections.toml").write_text(text)
    common.query("SELECT 1")
    assert list(connector.options["session_parameters"]) == ["QUERY_TAG"]


def test_outside_of_a_job_nothing_is_tagged(common: ModuleType, connector: Connector) -> None:
    common.query("SELECT 1")
    assert connector.options == {"connection_name": "default"}


def test_a_tag_is_never_longer_than_snowflake_takes(
    common: ModuleType, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_job(monkeypatch, "/scripts/" + "🌲" * 255)
    assert len(common.query_tag()) < 500
    as_job(monkeypatch, "/scripts/" + "x" * 3000)
    assert json.loads(common.query_tag()) == {"ml_job": "abcdefghij23", "owner": "alice", "commit": "c" * 40}


def test_an_input_is_a_file_or_the_script_ends_with_a_line_that_says_how_to_give_one(
    common: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "INPUTS", tmp_path)
    with pytest.raises(SystemExit) as stopped:
        common.input_file("model", "m.joblib")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "no input model: submit with --input model=JOB:m.joblib\n"
    (tmp_path / "model").touch()
    assert common.input_file("model", "m.joblib") == tmp_path / "model"


def declaration(name: str) -> Script:
    return describe(name, (SCRIPTS / name).read_bytes())


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_script_describes_itself_and_its_parameters(name: str) -> None:
    script = declaration(name)
    assert script.description
    assert script.parameters
    assert all(parameter.description for parameter in script.parameters)


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_agent_accepts_every_scripts_own_defaults(name: str) -> None:
    script = declaration(name)
    defaults = {
        parameter.name: parameter.default for parameter in script.parameters if parameter.default is not None
    }
    check_parameters(script, defaults)


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_script_and_the_agent_read_the_same_parameters(name: str, common: ModuleType) -> None:
    declared = {parameter.name for parameter in declaration(name).parameters}
    assert set(common.hyperparameters(str(SCRIPTS / name))) == declared


def run_hello(artifacts: Path, **variables: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-u", SCRIPTS / "hello.py"],
        env={"ARTIFACTS": str(artifacts), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"} | variables,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )


def test_hello_prints_writes_an_artifact_and_exits_with_the_given_status(tmp_path: Path) -> None:
    with run_hello(tmp_path, HP_NAME="Zoë", HP_LINES="2", HP_STATUS="3") as hello:
        output, _ = hello.communicate()
    assert output == "Hello, Zoë! (1 of 2)\nHello, Zoë! (2 of 2)\n"
    assert hello.returncode == 3
    assert (tmp_path / "hello.txt").read_text() == "Hello, Zoë!\n"


def test_sigterm_ends_a_script_at_once_with_status_143(tmp_path: Path) -> None:
    with run_hello(tmp_path, HP_SLEEP="60") as hello:
        assert hello.stdout is not None
        assert hello.stdout.readline() == "Hello, world! (1 of 3)\n"
        hello.terminate()
        assert hello.stdout.read() == "Stopped by SIGTERM\n"
    assert hello.returncode == 143
