"""`ml-job artifacts`: listed and fetched, never outside the directory, and never damaged."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.ml_job import ML_JOB, at_a_terminal, ml_job
from tests.support.stand_in_agent import JOB_ID, StandIn

FILES = {"model.joblib": b"\x00" * 600_000, "plots/roc curve #1.png": b"png", "metrics.json": b"{}"}


def test_list_is_the_default_command(agent: StandIn) -> None:
    agent.files = FILES
    rows = [row.split("\t") for row in ml_job("artifacts", JOB_ID).stdout.splitlines()]
    assert [(row[0], row[1]) for row in rows] == [
        ("model.joblib", "600000"),
        ("plots/roc curve #1.png", "3"),
        ("metrics.json", "2"),
    ]
    assert json.loads(ml_job("artifacts", "--json", JOB_ID).stdout)["complete"] is True


def test_all_artifacts_are_fetched_into_a_directory_named_after_the_job(
    agent: StandIn, tmp_path: Path
) -> None:
    agent.files = FILES
    result = ml_job("artifacts", "get", JOB_ID)
    assert result.exit_code == 0, result.stderr
    root = tmp_path / JOB_ID
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert found == FILES
    assert result.stdout.splitlines() == [f"{JOB_ID}/{path}" for path in FILES]


def test_only_the_named_files_and_directories_are_fetched(agent: StandIn, tmp_path: Path) -> None:
    agent.files = FILES
    result = ml_job("artifacts", "get", JOB_ID, "metrics.json", "plots/", "-o", "here")
    assert result.stdout.splitlines() == ["here/plots/roc curve #1.png", "here/metrics.json"]
    assert not (tmp_path / "here" / "model.joblib").exists()


def test_one_file_is_written_to_the_name_that_is_given(agent: StandIn, tmp_path: Path) -> None:
    agent.files = FILES
    for _ in ("new", "replaced"):
        result = ml_job("artifacts", "get", JOB_ID, "metrics.json", "-o", "m.json")
        assert (result.exit_code, result.stdout) == (0, "m.json\n"), result.stderr
        assert (tmp_path / "m.json").read_bytes() == b"{}"
    assert ml_job("artifacts", "get", JOB_ID, "plots/roc curve #1.png", "-o", "a/b/c.png").exit_code == 0
    assert (tmp_path / "a/b/c.png").read_bytes() == b"png"


@pytest.mark.parametrize(("output", "made"), [("here", False), ("new/", False), ("here", True)])
def test_a_directory_stays_one(agent: StandIn, tmp_path: Path, output: str, made: bool) -> None:
    agent.files = FILES
    if made:
        (tmp_path / output).mkdir()
    wanted = "metrics.json" if made or output.endswith("/") else "plots"
    assert ml_job("artifacts", "get", JOB_ID, wanted, "-o", output).exit_code == 0
    assert any(path.is_file() for path in (tmp_path / output).rglob("*"))


def test_one_file_is_written_to_stdout_as_it_is(agent: StandIn, tmp_path: Path) -> None:
    agent.files = {"model.joblib": bytes(range(256)) * 3000, "other": b""}
    result = ml_job("artifacts", "get", JOB_ID, "model.joblib", "-o", "-")
    assert (result.exit_code, result.stdout_bytes) == (0, agent.files["model.joblib"])
    assert not (tmp_path / "-").exists()


def test_several_files_are_not_written_to_stdout(agent: StandIn) -> None:
    agent.files = FILES
    result = ml_job("artifacts", "get", JOB_ID, "-o", "-")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Only one file can be written to stdout, not 3." in result.stderr


def test_a_damaged_file_does_not_reach_stdout(agent: StandIn) -> None:
    agent.files = FILES
    agent.manifest_changes = {"sha256": "0" * 64}
    result = ml_job("artifacts", "get", JOB_ID, "metrics.json", "-o", "-")
    assert (result.exit_code, result.stdout) == (1, "")


def test_no_artifact_is_written_to_a_terminal(agent: StandIn) -> None:
    agent.files = FILES
    shown = at_a_terminal("artifacts", "get", JOB_ID, "metrics.json", "-o", "-")
    assert "An artifact is not written to a terminal." in shown


def test_an_output_that_is_a_file_is_refused(agent: StandIn, tmp_path: Path) -> None:
    agent.files = FILES
    (tmp_path / "file").write_text("before")
    result = ml_job("artifacts", "get", JOB_ID, "-o", "file")
    assert result.exit_code == 2
    assert "error: file is not a directory." in result.stderr
    assert "hint: " in result.stderr
    assert (tmp_path / "file").read_text() == "before"


def test_an_unknown_artifact_is_refused(agent: StandIn) -> None:
    agent.files = FILES
    result = ml_job("artifacts", "get", JOB_ID, "model")
    assert result.exit_code == 2
    assert "no artifact 'model'" in result.stderr


@pytest.mark.parametrize("change", [{"sha256": "0" * 64}, {"size": 1}, {"size": 3}])
def test_a_damaged_artifact_leaves_the_earlier_file(
    agent: StandIn, tmp_path: Path, change: dict[str, object]
) -> None:
    (tmp_path / "metrics.json").write_text("before")
    agent.files, agent.manifest_changes = {"metrics.json": b"{}"}, change
    result = ml_job("artifacts", "get", JOB_ID, "-o", ".")
    assert result.exit_code == 1
    assert (tmp_path / "metrics.json").read_text() == "before"
    assert not list(tmp_path.glob(".ml-job-*"))


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "link/evil"])
def test_no_artifact_is_written_outside_the_directory(agent: StandIn, tmp_path: Path, path: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    agent.files = {"harmless": b"1", path: b"2"}
    result = ml_job("artifacts", "get", JOB_ID, "-o", str(root))
    assert result.exit_code == 1
    assert "outside" in result.stderr
    assert not (tmp_path / "evil").exists()
    assert not (root / "harmless").exists()


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ("out/d/b/", "out/d/b is a directory"),
        ("out/d", "out/d is not a directory"),
        ("out", "out is not a directory"),
    ],
)
def test_something_else_in_an_artifacts_place_is_an_error_before_the_first_byte(
    agent: StandIn, tmp_path: Path, made: str, why: str
) -> None:
    place = tmp_path / made
    (place if made.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
    if not made.endswith("/"):
        place.write_text("before")
    agent.files = {"a": b"1", "d/b": b"2"}
    result = ml_job("artifacts", "get", JOB_ID, "-o", "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr
    assert len(agent.paths()) == 1
    assert place.is_dir() or place.read_text() == "before"


@pytest.mark.parametrize(
    ("path", "output", "why"),
    [
        ("x" * 300, "out", "File name too long"),
        ("x" * 300 + "/b", "out", "File name too long"),
        ("a", "/proc/nothing", "/proc/nothing/a cannot be written"),
    ],
)
def test_an_artifact_that_cannot_be_written_is_named(
    agent: StandIn, tmp_path: Path, path: str, output: str, why: str
) -> None:
    agent.files = {path: b"1"}
    result = ml_job("artifacts", "get", JOB_ID, "-o", output)
    assert (result.exit_code, result.stdout) == (2, "")
    assert why in result.stderr
    assert not [each for each in (tmp_path / "out").rglob("*") if each.is_file()]


def test_a_full_disk_leaves_the_earlier_file(agent: StandIn, tmp_path: Path) -> None:
    (tmp_path / "model").write_text("before")
    agent.files = {"model": b"x" * 3_000_000}
    # A limit of a file's size is met as a full disk is: by a write that takes a part, and the next.
    limited = f"ulimit -f 1000; exec {shlex.join([*ML_JOB, 'artifacts', 'get', JOB_ID, '-o', '.'])}"
    result = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: model cannot be written: File too large.\nhint: Make room")
    assert (tmp_path / "model").read_text() == "before"
    assert not list(tmp_path.glob(".ml-job-*"))
