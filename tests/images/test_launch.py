"""The launcher of the jobs' image, as a process: it becomes the script."""

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import pytest

LAUNCHER = Path(__file__).parents[2] / "images/ml-runner/launch.py"
EX_CONFIG = 78

REPORT = """
import json, os, sys
print(json.dumps({
    "variables": {
        name: value for name, value in os.environ.items() if name.startswith(("HP_", "JOB_", "KEEP", "ML_"))
    },
    "arguments": sys.argv,
    "directory": os.getcwd(),
}))
sys.exit(7)
"""


class Container:
    """A directory that stands for a job's container, with the launcher in it."""

    def __init__(self, root: Path) -> None:
        self.job = root / "job.json"
        self.scripts = root / "scripts"
        (self.scripts / "team").mkdir(parents=True)
        for name in ("report.py", "team/report.py"):
            (self.scripts / name).write_text(REPORT)
        self.launcher = root / "launch.py"
        text = LAUNCHER.read_text()
        for constant, place in (("/run/ml-job/job.json", self.job), ("/scripts", self.scripts)):
            assert text.count(f'"{constant}"') == 1
            text = text.replace(f'"{constant}"', repr(str(place)))
        self.launcher.write_text(text)

    def start(self, description: object, **variables: str) -> subprocess.CompletedProcess[str]:
        """Launches the described job, as the image's entry point does."""
        text = description if isinstance(description, str) else json.dumps(description)
        self.job.write_text(text)
        return self.launch(**variables)

    def launch(self, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", *options, self.launcher],
            env={"KEEP": "this", "LANG": "C.UTF-8"} | variables,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def job(script_name: str = "report.py", **hyperparameters: str) -> dict[str, Any]:
    return {"job_id": "abcdefghij23", "script_name": script_name, "hyperparameters": hyperparameters}


def test_the_job_and_its_hyperparameters_are_added_to_the_environment(
    container: Container,
) -> None:
    ran = container.start(job(n_estimators="50", Max_Depth="3"))
    assert json.loads(ran.stdout)["variables"] == {
        "JOB_ID": "abcdefghij23",
        "HP_N_ESTIMATORS": "50",
        "HP_MAX_DEPTH": "3",
        "KEEP": "this",
    }


def test_the_job_knows_its_owner_and_commit_from_an_agent_that_tells_them(container: Container) -> None:
    ran = container.start(job() | {"owner": "alice", "commit": "c" * 40})
    told = json.loads(ran.stdout)["variables"]
    assert (told["JOB_OWNER"], told["JOB_COMMIT"]) == ("alice", "c" * 40)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "two words",
        "two\nlines\r\nand a tab\t",
        """'single' "double" `back`""",
        "$HOME ${HOME} $(id) %i %% \\ \\n ; | & > #",
        "-c import os",
        "=a=b",
        "grün 模型 🌲 \u2028",
        "x" * 4096,
    ],
)
def test_a_value_arrives_unchanged(container: Container, value: str) -> None:
    ran = container.start(job(value=value))
    assert json.loads(ran.stdout)["variables"]["HP_VALUE"] == value


def test_a_hundred_values_of_the_maximum_length_fit(container: Container) -> None:
    longest = "🌲" * 4096
    ran = container.start(job(**{f"p{number}": longest for number in range(100)}))
    assert json.loads(ran.stdout)["variables"]["HP_P99"] == longest


def test_a_description_may_have_white_space_around_it(container: Container) -> None:
    assert container.start(f"\n {json.dumps(job(), indent=2)} \n").returncode == 7


def test_the_json_module_is_not_imported_for_a_valid_description(container: Container) -> None:
    """Importing it would take as long as starting Python, for each job."""
    container.job.write_text(json.dumps(job(value="grün 🌲")))
    ran = container.launch("-X", "importtime")
    assert json.loads(ran.stdout)["variables"]["HP_VALUE"] == "grün 🌲"
    imported = [line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()]
    assert "os" in imported
    assert not {"json", "re"} & set(imported)


def test_the_exit_status_is_the_scripts(container: Container) -> None:
    assert container.start(job()).returncode == 7


def test_a_script_in_a_subdirectory_runs_in_the_scripts_directory(container: Container) -> None:
    report = json.loads(container.start(job("team/report.py")).stdout)
    assert report["directory"] == str(container.scripts)
    assert report["arguments"] == [str(container.scripts / "team/report.py")]


HELPED = """
import _common, team.data, local
print(_common.__file__, team.data.table(), local.__file__)
"""
DATA = """
from pathlib import Path

def table():
    return Path(__file__).with_name("table.csv").read_text()
"""


def test_a_script_in_a_subdirectory_finds_helpers_and_the_files_beside_it(container: Container) -> None:
    scripts = container.scripts
    for name in ("_common.py", "team/local.py"):
        (scripts / name).touch()
    (scripts / "team/data.py").write_text(DATA)
    (scripts / "team/table.csv").write_text("a,b")
    (scripts / "team/train.py").write_text(HELPED)
    (scripts / "team/deeper").mkdir()
    (scripts / "team/deeper/train.py").write_text("import _common; print(_common.__file__)")
    ran = container.start(job("team/train.py"))
    assert ran.stdout.split() == [f"{scripts}/_common.py", "a,b", f"{scripts}/team/local.py"], ran.stderr
    ran = container.start(job("team/deeper/train.py"))
    assert ran.stdout == f"{scripts}/_common.py\n", ran.stderr


def test_a_scripts_own_directory_comes_first_and_an_images_python_path_last(container: Container) -> None:
    (container.scripts / "team/path.py").write_text("import sys; print(*sys.path[:3])")
    ran = container.start(job("team/path.py"), PYTHONPATH="/opt/site")
    assert ran.stdout.split() == [f"{container.scripts}/team", str(container.scripts), "/opt/site"]


def test_a_script_starts_when_the_file_that_it_waits_for_exists(container: Container, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv/bin/python3"
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(tmp_path / "venv")}))
    for name in ("ml_start.py", "ml_start.pth"):
        shutil.copy(LAUNCHER.with_name(name), packages)
    signal = container.job.with_name("started")
    container.job.write_text(json.dumps(job() | {"starts_after": str(signal)}))
    command = [python, "-I", "-S", container.launcher]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        signal.touch()
        assert process.stdout is not None
        variables = json.load(process.stdout)["variables"]
        assert process.wait(30) == 7
    assert not any("START" in name for name in variables)


def test_a_missing_description_is_one_line_and_status_78(container: Container) -> None:
    ran = container.launch()
    assert ran.returncode == EX_CONFIG
    assert ran.stderr == f"ml-runner: {container.job}: No such file or directory\n"


@pytest.mark.parametrize(
    ("description", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ('{"job_id": "a"', "Expecting ',' delimiter: line 1 column 15 (char 14)"),
        ('{"job_id": "a"} b', "Extra data: line 1 column 17 (char 16)"),
        ('{"job_id": "a\n"}', "Invalid control character at: line 1 column 14 (char 13)"),
        ("[]", "must be an object"),
        ('{"job_id": "a", "script_name": "report.py"}', "hyperparameters is missing"),
        ('{"hyperparameters": {}, "script_name": "report.py"}', "job_id is missing"),
        (job() | {"hyperparameters": ["n"]}, "hyperparameters must be an object"),
        (job() | {"hyperparameters": {"n": 50}}, "n must be a string"),
        (job() | {"script_name": None}, "script_name must be a string"),
        (job() | {"starts_after": 1}, "starts_after must be a string"),
        (job(n="a\0b"), "embedded null byte"),
    ],
)
def test_a_malformed_description_is_one_line_and_status_78(
    container: Container, description: object, reason: str
) -> None:
    ran = container.start(description)
    assert ran.returncode == EX_CONFIG
    assert ran.stderr == f"ml-runner: {container.job}: {reason}\n"
    assert ran.stdout == ""
