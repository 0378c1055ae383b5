"""`ml-job artifacts`: listed and fetched, never outside the directory, and never damaged."""

import json
import os
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


def test_one_named_file_is_fetched_into_the_directory_of_the_job(agent: StandIn, tmp_path: Path) -> None:
    agent.files = FILES
    for path in ("metrics.json", "plots/roc curve #1.png"):
        assert ml_job("artifacts", "get", JOB_ID, path).stdout == f"{JOB_ID}/{path}\n"
        assert (tmp_path / JOB_ID / path).read_bytes() == FILES[path]


def test_only_the_named_files_and_directories_are_fetched(agent: StandIn, tmp_path: Path) -> None:
    agent.files = FILES
    result = ml_job("artifacts", "get", JOB_ID, "metrics.json", "plots/", "-o", "here")
    assert result.stdout.splitlines() == ["here/plots/roc curve #1.png", "here/metrics.json"]
    assert not (tmp_path / "here" / "model.joblib").exists()


def test_one_file_is_written_to_the_name_that_is_given(agent: StandIn, tmp_path: Path) -> None:
    agent.files = FILES
    for _ in ("new", "the same"):
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
    result = ml_job("artifacts", "get", JOB_ID, "--force", "-o", ".")
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
    limited = (
        f"ulimit -f 1000; exec {shlex.join([*ML_JOB, 'artifacts', 'get', JOB_ID, '--force', '-o', '.'])}"
    )
    result = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: model cannot be written: File too large.\nhint: Make room")
    assert (tmp_path / "model").read_text() == "before"
    assert not list(tmp_path.glob(".ml-job-*"))


def fetched(agent: StandIn) -> list[str]:
    """The artifacts that were asked for."""
    return [path.partition("/artifacts/")[2] for path in agent.paths() if "/artifacts/" in path]


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "fifo"])
def test_another_file_in_an_artifacts_place_is_named_and_left_alone(
    agent: StandIn, tmp_path: Path, kind: str
) -> None:
    agent.files = {"model": b"new", "other": b"1"}
    place, elsewhere = tmp_path / "model", tmp_path / "elsewhere"
    elsewhere.write_bytes(b"new")
    if kind == "file":
        place.write_bytes(b"old")
    elif kind == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to(elsewhere if kind == "link" else tmp_path / "nothing")
    before = place.lstat().st_ino, place.lstat().st_mtime_ns
    result = ml_job("artifacts", "get", JOB_ID, "-o", ".")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error: There are other files in the place of artifacts: model." in result.stderr
    assert "--force" in result.stderr
    assert (place.lstat().st_ino, place.lstat().st_mtime_ns) == before
    assert fetched(agent) == []
    result = ml_job("artifacts", "get", JOB_ID, "-o", ".", "--force")
    assert (result.exit_code, place.is_symlink(), place.read_bytes()) == (0, False, b"new")
    assert elsewhere.read_bytes() == b"new"


def test_many_other_files_are_counted(agent: StandIn, tmp_path: Path) -> None:
    agent.files = {str(number): b"new" for number in range(9)}
    for name in agent.files:
        (tmp_path / name).write_text("old")
    assert "artifacts: 0, 1, 2, 3, 4 and 4 more." in ml_job("artifacts", "get", JOB_ID, "-o", ".").stderr


def test_the_same_file_is_not_fetched_again(agent: StandIn, tmp_path: Path) -> None:
    agent.files = FILES
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots/roc curve #1.png").write_bytes(b"png")
    result = ml_job("artifacts", "get", JOB_ID, "-o", ".")
    assert (result.exit_code, result.stdout.splitlines()) == (0, list(FILES))
    assert sorted(fetched(agent)) == ["metrics.json", "model.joblib"]
    assert ml_job("artifacts", "get", JOB_ID, "-o", ".").exit_code == 0
    assert len(fetched(agent)) == 2


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        "a/.ssh/authorized_keys",
        ".bashrc",
        ".GIT/hooks/x",
        "\u200c.git/config",
        "a/\u200d\u200c.x",
        "...",
    ],
)
def test_a_hidden_file_is_written_only_by_force(agent: StandIn, tmp_path: Path, path: str) -> None:
    agent.files = {"harmless": b"1", path: b"2"}
    result = ml_job("artifacts", "get", JOB_ID)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Hidden files can change what programs do: {path}." in result.stderr
    assert (fetched(agent), (tmp_path / JOB_ID).exists()) == ([], False)
    assert ml_job("artifacts", "get", JOB_ID, "harmless").exit_code == 0
    assert ml_job("artifacts", "get", JOB_ID, "--force").exit_code == 0
    assert (tmp_path / JOB_ID / path).read_bytes() == b"2"


def test_one_hidden_file_can_be_fetched_under_another_name(agent: StandIn, tmp_path: Path) -> None:
    agent.files = {".config": b"1"}
    assert ml_job("artifacts", "get", JOB_ID, ".config", "-o", "settings").exit_code == 0
    assert (tmp_path / "settings").read_bytes() == b"1"


@pytest.mark.parametrize("force", [False, True])
def test_two_artifacts_whose_names_are_one_here_do_not_replace_each_other(
    agent: StandIn, tmp_path: Path, force: bool
) -> None:
    # As on a file system that takes A and a for the same name.
    (tmp_path / "a").mkdir()
    (tmp_path / "A").symlink_to("a")
    agent.files = {"A/model": b"first", "a/model": b"second"}
    result = ml_job("artifacts", "get", JOB_ID, "-o", ".", *(["--force"] if force else []))
    assert result.exit_code == 2
    assert "a/model is there by now." in result.stderr
    assert (tmp_path / "a/model").read_bytes() == b"first"
    assert not list(tmp_path.rglob(".ml-job-*"))


def test_an_escaped_name_that_is_too_long_for_the_file_system_is_cut(agent: StandIn, tmp_path: Path) -> None:
    agent.files = {"%E9" * 255: b"1", "%E9" * 254 + "%E8": b"2", "sub/" + "%0A" * 100: b"3", "100%": b"4"}
    result = ml_job("artifacts", "get", JOB_ID)
    assert result.exit_code == 0, result.stderr
    names = result.stdout.splitlines()
    assert [(tmp_path / name).read_bytes() for name in names] == [b"1", b"2", b"3", b"4"]
    assert all(len(part) <= 255 for name in names for part in name.split("/"))
    assert names[0].startswith(f"{JOB_ID}/%E9%E9")
    assert names[3] == f"{JOB_ID}/100%"


def test_what_is_not_published_is_told_with_the_reason(agent: StandIn) -> None:
    agent.files = {"model": b"1"}
    agent.left_out = [
        {"path": "link", "reason": "is a link"},
        {"path": "closed/", "reason": "cannot be read: no"},
    ]
    for arguments in (("artifacts", JOB_ID), ("artifacts", "get", JOB_ID)):
        result = ml_job(*arguments)
        assert result.exit_code == 0
        assert "ml-job: link was not published: it is a link\n" in result.stderr
        assert "ml-job: closed/ was not published: it cannot be read: no\n" in result.stderr
    agent.left_out *= 100
    assert "ml-job: 100 more files were not published\n" in ml_job("artifacts", JOB_ID).stderr


def test_an_earlier_agent_gives_no_reason(agent: StandIn) -> None:
    agent.skipped = ["link"]
    assert "ml-job: link was not published\n" in ml_job("artifacts", JOB_ID).stderr
