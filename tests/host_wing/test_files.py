"""Files appear whole or not at all, and two holders of a directory wait for each other."""

import stat
import threading
from pathlib import Path

import pytest

from agent.errors import AgentError, Problem
from agent.host import files
from agent.host.files import alone, publish, refuse_to_overwrite, write_file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_file_is_replaced_with_its_mode_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_file(path, b"one", mode=0o600)
    assert (path.read_bytes(), mode(path)) == (b"one", 0o600)
    write_file(path, b"two", mode=0o644, replace=True)
    assert (path.read_bytes(), mode(path)) == (b"two", 0o644)
    assert list(path.parent.iterdir()) == [path]


def test_an_existing_file_is_not_overwritten_unless_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"one", mode=0o600)
    with pytest.raises(AgentError, match="exists and is not overwritten") as caught:
        write_file(path, b"two", mode=0o600)
    assert caught.value.problem is Problem.CONFIGURATION
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(AgentError, match="exists"):
        refuse_to_overwrite(tmp_path / "missing", path)


def test_the_mode_holds_before_the_first_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    monkeypatch.setattr(files.os, "fsync", lambda _: modes.extend(map(mode, tmp_path.iterdir())))
    write_file(tmp_path / "file", b"secret", mode=0o400)
    assert set(modes) == {0o400}


def test_a_directory_is_not_made_where_that_is_not_wanted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "missing" / "file", b"", mode=0o600, parents=False)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_what_was_there_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_file(path, b"two", mode=0o600, replace=True)
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("durable", [True, False])
def test_only_a_durable_file_and_its_name_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(files.os, "fsync", synced.append)
    write_file(tmp_path / "file", b"", mode=0o600, durable=durable)
    assert len(synced) == 2 * durable


def test_a_published_file_takes_the_place_of_another(tmp_path: Path) -> None:
    path, temporary = tmp_path / "file", tmp_path / "file.new"
    path.write_bytes(b"one")
    temporary.write_bytes(b"two")
    with pytest.raises(AgentError, match="exists"):
        publish(temporary, path, replace=False)
    publish(temporary, path)
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_has_one_holder_at_a_time(tmp_path: Path) -> None:
    order = []
    inside = threading.Event()

    def other() -> None:
        inside.wait()
        with alone(tmp_path):
            order.append("other")

    thread = threading.Thread(target=other)
    thread.start()
    with alone(tmp_path):
        inside.set()
        thread.join(0.1)  # it would be done by now
        order.append("first")
    thread.join()
    assert order == ["first", "other"]
