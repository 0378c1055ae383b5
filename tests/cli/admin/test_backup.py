"""`ml-agent backup` and `restore`: from one host to another, and back in time on the same one."""

import asyncio
import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.backup import making
from agent.cli.admin import main
from agent.config_files import load
from agent.model.job import JobState, Reason
from agent.store.copies import NO_MANAGER
from agent.store.migrations import MIGRATIONS
from agent.store.store import Store
from tests.support.jobs import make_job
from tests.support.ml_agent import Run, audit_rows, certificates_of, issue, make_account, with_store

STATE = ".local/state/ml-agent"


@pytest.fixture
def other_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes a new machine's account, without a configuration, this process's own; returns its home."""

    def move() -> Path:
        home = tmp_path / "other"
        home.mkdir()
        make_account(home, monkeypatch)
        return home

    return move


@pytest.fixture(autouse=True)
def elsewhere(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`issue` writes into the working directory."""
    monkeypatch.chdir(home)


def add(*states: JobState, **fields: object) -> list[str]:
    jobs = [make_job(status=state, **fields) for state in states]

    async def work(store: Store) -> None:
        for job in jobs:
            await store.jobs.add(job, max_waiting=99)

    asyncio.run(with_store(work))
    return [job.job_id for job in jobs]


def jobs() -> dict[str, tuple[JobState, Reason | None]]:
    async def work(store: Store) -> dict[str, tuple[JobState, Reason | None]]:
        page = await store.jobs.page(limit=100)
        return {job.job_id: (job.status, job.reason) for job in page.jobs}

    return asyncio.run(with_store(work))


def backed_up(run: Run, file: Path, *options: str) -> Path:
    done = run("backup", str(file), *options)
    assert (done.status, done.out) == (0, ""), done.err
    return file


def state_of(home: Path) -> dict[str, bytes]:
    """The files but the database, whose mode of journal may differ, and that as SQL."""
    files = sorted(
        path for path in (home / STATE).rglob("*") if path.is_file() and "jobs.db" not in path.name
    )
    with closing(sqlite3.connect(home / STATE / "jobs.db")) as db:
        return {"sql": "\n".join(db.iterdump()).encode()} | {str(path): path.read_bytes() for path in files}


def test_a_host_moves_with_its_jobs_keys_configuration_and_audit(
    ready: Run, home: Path, other_host: Callable[[], Path]
) -> None:
    serial = issue(ready, "alice")
    waiting, running = add(JobState.PENDING, JobState.RUNNING)
    old = {
        name: (home / STATE / name).read_bytes() for name in ("pki/ca.crt", "pki/ca.key", "pki/server.key")
    }
    rows = [row["hash"] for row in audit_rows(ready)]
    file = backed_up(ready, home / "backup")
    assert file.stat().st_mode & 0o777 == 0o600
    new = other_host()
    done = ready("restore", str(file), "--trust-backup")
    assert done.status == 0, done.err
    assert f"1 wait, and start when the agent does: {waiting}" in done.out
    assert running in done.out
    assert {name: (new / STATE / name).read_bytes() for name in old} == old
    assert (new / ".config/ml-agent/config.toml").read_bytes() == (
        home / ".config/ml-agent/config.toml"
    ).read_bytes()
    assert jobs() == {waiting: (JobState.PENDING, None), running: (JobState.RUNNING, None)}
    assert [each["serial"] for each in certificates_of(ready)] == [serial]
    told = audit_rows(ready)
    assert [row["hash"] for row in told][: len(rows)] == rows
    assert (told[-1]["action"], told[-1]["details"]["waiting"]) == ("restore", 1)
    verified = ready("audit", "--verify", "--no-journal")
    assert verified.status == 0
    assert f"Row {told[-1]['row']}: the record was restored" in verified.err
    # No systemd manager was asked here: the agent ends the attempt, and does not start it again.
    with closing(sqlite3.connect(new / STATE / "jobs.db")) as db:
        assert db.execute("SELECT manager FROM jobs WHERE id = ?", (running,)).fetchone() == (NO_MANAGER,)
    assert sorted(path.name for path in (new / STATE).parent.iterdir()) == ["ml-agent", "ml-agent.revoked"]


def test_what_was_revoked_after_the_backup_stays_refused(ready: Run, home: Path) -> None:
    alice, bob = issue(ready, "alice"), issue(ready, "bob")
    assert ready("invite", "mallory").status == 0
    file = backed_up(ready, home / "backup")
    assert ready("revoke", alice).status == 0
    late = issue(ready, "carol")
    commit = "1" * 40
    assert ready("withdraw", commit, "--reason", "It leaks.").status == 0
    done = ready("restore", str(file), "--replace")
    assert done.status == 0, done.err
    assert f"revoked   alice, analyst, serial {alice}" in done.out
    assert [(each["serial"], "revoked_at" in each) for each in certificates_of(ready)] == [
        (alice, True),
        (bob, False),
    ]
    assert late not in ready("list", "--all", "--json").out
    assert json.loads(ready("withdrawn", "--json").out)[0]["commit"] == commit
    assert audit_rows(ready)[-1]["details"]["invitations"] == 1
    assert len(list((home / STATE).parent.glob("ml-agent.replaced-*"))) == 1
    # What is readmitted afterwards stays so over another restore.
    assert ready("readmit", commit).status == 0
    later = backed_up(ready, home / "later")
    assert ready("restore", str(later), "--replace").status == 0
    assert json.loads(ready("withdrawn", "--json").out) == []


def test_a_new_machine_asks_for_what_it_cannot_know(
    ready: Run, home: Path, other_host: Callable[[], Path]
) -> None:
    alice, bob = issue(ready, "alice"), issue(ready, "bob")
    file = backed_up(ready, home / "backup")
    new = other_host()
    done = ready("restore", str(file))
    assert done.status == 1
    assert all(each in done.err for each in (alice, bob, "--trust-backup"))
    assert not (new / ".local").exists() or not list((new / ".local/state").iterdir())
    assert not (new / ".config").exists()
    done = ready("restore", str(file), "--revoke", alice)
    assert done.status == 0, done.err
    assert [(each["user"], "revoked_at" in each) for each in certificates_of(ready)] == [
        ("alice", True),
        ("bob", False),
    ]


def test_all_that_were_issued_before_a_time_can_be_revoked(
    ready: Run, home: Path, other_host: Callable[[], Path]
) -> None:
    issue(ready, "alice")
    file = backed_up(ready, home / "backup")
    other_host()
    assert ready("restore", str(file), "--revoke", "abcdef99").status == 1
    assert ready("restore", str(file), "--revoke-issued-before", "2999-01-01").status == 0
    assert all("revoked_at" in each for each in certificates_of(ready))


def test_the_copied_file_of_revocations_answers_on_a_new_machine(
    ready: Run, home: Path, other_host: Callable[[], Path]
) -> None:
    alice = issue(ready, "alice")
    file = backed_up(ready, home / "backup")
    assert ready("revoke", "--user", "alice").status == 0
    kept = (home / (STATE + ".revoked")).read_bytes()
    new = other_host()
    (new / STATE).parent.mkdir(parents=True)
    # One of another host does not answer for this one.
    (new / (STATE + ".revoked")).write_text('{"authority": "0123456789abcdef"}\n{"torn')
    assert ready("restore", str(file)).status == 1
    (new / (STATE + ".revoked")).write_bytes(kept)
    done = ready("restore", str(file))
    assert done.status == 0, done.err
    assert f"serial {alice}" in done.out


def test_a_state_is_replaced_only_when_that_is_asked_for(ready: Run, home: Path) -> None:
    file = backed_up(ready, home / "backup")
    before = state_of(home)
    done = ready("restore", str(file))
    assert (done.status, "--replace" in done.err) == (78, True)
    assert state_of(home) == before


def test_a_damaged_backup_changes_nothing(ready: Run, home: Path) -> None:
    file = backed_up(ready, home / "backup")
    data, before = file.read_bytes(), state_of(home)
    killed = (home / STATE).with_name(".ml-agent.restoring-killed") / "state"
    killed.mkdir(parents=True)
    for damaged in (data[:-20], data[: len(data) // 2], data[:500] + b"\0" + data[501:], b""):
        file.write_bytes(damaged)
        done = ready("restore", str(file), "--replace")
        assert (done.status, "damaged" in done.err) == (1, True)
    assert state_of(home) == before
    assert [path.name for path in (home / STATE).parent.iterdir() if "restoring" in path.name] == []


def test_a_backup_of_a_later_schema_is_refused(ready: Run, home: Path) -> None:
    with closing(sqlite3.connect(home / STATE / "jobs.db")) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    file = home / "backup"
    real = making.copy_database

    def later(database: Path, copy: Path) -> object:
        identity = real(database, copy)
        return SimpleNamespace(**{**identity.__dict__, "db_schema": len(MIGRATIONS) + 1})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(making, "copy_database", later)
        backed_up(ready, file)
    done = ready("restore", str(file), "--replace", "--trust-backup")
    assert (done.status, f"has schema {len(MIGRATIONS) + 1}" in done.err) == (78, True)


def test_an_open_state_is_not_replaced(ready: Run, home: Path) -> None:
    file = backed_up(ready, home / "backup")

    async def tried(_: Store) -> tuple[int, str]:
        program = "from agent.cli.admin import init, main; init.is_root = lambda: False; main.main()"
        command = (sys.executable, "-c", program, "restore", str(file), "--replace")
        checkout = str(Path(__file__).parents[3])
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": checkout},
        )
        return done.returncode, done.stderr

    status, err = asyncio.run(with_store(tried))
    assert status == 1
    assert "Stop the agent" in err
    assert not list((home / STATE).parent.glob("*replaced*"))


def test_what_began_after_the_backup_is_not_run_a_second_time(ready: Run, home: Path) -> None:
    began, waits, retried = add(JobState.PENDING, JobState.PENDING, JobState.PENDING)
    file = backed_up(ready, home / "backup")

    async def begin(store: Store) -> None:
        for job_id, update in ((began, {"status": JobState.CREATED}), (retried, {"attempt": 2})):
            job = await store.jobs.get(job_id)
            assert job is not None
            assert await store.jobs.update(job.model_copy(update={**update, "revision": job.revision + 1}))

    asyncio.run(with_store(begin))
    done = ready("restore", str(file), "--replace")
    assert done.status == 0, done.err
    assert "2 began after the backup" in done.out
    assert jobs() == {
        began: (JobState.FAILED, Reason.INTERRUPTED),
        waits: (JobState.PENDING, None),
        retried: (JobState.FAILED, Reason.INTERRUPTED),
    }


def test_every_job_from_before_is_in_a_backup_that_was_made_under_load(
    ready: Run, home: Path, other_host: Callable[[], Path]
) -> None:
    accepted: list[str] = []
    stop = threading.Event()
    database = load().database

    async def write() -> None:
        async with Store.open(database) as store:
            while not stop.is_set():
                job = make_job(status=JobState.PENDING)
                await store.jobs.add(job, max_waiting=100_000)
                accepted.append(job.job_id)

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    try:
        files = []
        for number in range(3):
            before = len(accepted)
            while len(accepted) < before + 20:
                pass
            at_least = accepted[:]
            files.append((backed_up(ready, home / f"backup-{number}"), at_least))
    finally:
        stop.set()
        writer.join()
    file, at_least = files[-1]
    new = other_host()
    assert ready("restore", str(file), "--trust-backup").status == 0
    with closing(sqlite3.connect(new / STATE / "jobs.db")) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        known = {job_id for (job_id,) in db.execute("SELECT id FROM jobs")}
    assert set(at_least) <= known <= set(accepted)


def test_results_are_in_it_on_wish_and_links_never(
    ready: Run, home: Path, other_host: Callable[[], Path]
) -> None:
    (job_id,) = add(JobState.COMPLETED)
    directory = home / STATE / "jobs" / job_id
    artifacts = directory / "attempts/1/artifacts"
    artifacts.mkdir(parents=True)
    (directory / "log.gz").write_bytes(b"log")
    (artifacts / "größe").write_bytes(b"model")
    (artifacts / "link").symlink_to("/etc/passwd")
    os.mkfifo(artifacts / "fifo")
    without, file = backed_up(ready, home / "without"), backed_up(ready, home / "backup", "--results")
    assert without.stat().st_size < file.stat().st_size
    new = other_host()
    assert ready("restore", str(file), "--trust-backup").status == 0
    files = {
        str(path.relative_to(new / STATE / "jobs" / job_id)): path
        for path in (new / STATE / "jobs").rglob("*")
    }
    assert {name: path.read_bytes() for name, path in files.items() if path.is_file()} == {
        "log.gz": b"log",
        "attempts/1/artifacts/größe": b"model",
    }
    assert not any(path.is_symlink() or path.is_fifo() for path in files.values())


def test_a_backup_goes_through_a_pipe(
    ready: Run, home: Path, other_host: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    issue(ready, "alice")
    out = io.BytesIO()
    with (home / "piped").open("w+b") as file:
        stream = SimpleNamespace(buffer=file, isatty=lambda: False, flush=file.flush, fileno=file.fileno)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "argv", ["ml-agent", "backup", "-"])
            with pytest.raises(SystemExit) as ended:
                main.main()
        assert not ended.value.code
        file.seek(0)
        out.write(file.read())
    out.seek(0)
    other_host()
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=out, isatty=lambda: False, fileno=lambda: 0))
    assert ready("restore", "-", "--trust-backup").status == 0
    assert [each["user"] for each in certificates_of(ready)] == ["alice"]


def test_a_file_is_never_overwritten_and_none_is_left_where_it_fails(
    ready: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = backed_up(ready, home / "backup")
    data = file.read_bytes()
    assert ready("backup", str(file)).status == 78
    assert file.read_bytes() == data
    monkeypatch.setattr(making, "room", lambda _: SimpleNamespace(bytes=1000))
    done = ready("backup", str(home / "second"))
    assert (done.status, "full or almost full" in done.err) == (1, True)
    before = state_of(home)
    assert "full or almost full" in ready("restore", str(file), "--replace").err
    assert state_of(home) == before
    assert sorted(path.name for path in home.iterdir() if "backup" in path.name or "second" in path.name) == [
        "backup"
    ]


def test_a_commit_that_is_no_file_is_told_of_readmit(ready: Run) -> None:
    done = ready("restore", "3f2a9c1b")
    assert (done.status, "ml-agent readmit" in done.err) == (1, True)


def findings(run: Run) -> list[str]:
    told = json.loads(run("doctor", "--json").out)
    return [each["seen"] for each in told if each["subject"] == "revocations" and each["level"] != "ok"]


def test_the_doctor_tells_of_a_record_that_was_copied_back_by_hand(ready: Run, home: Path) -> None:
    serial = issue(ready, "alice")
    commit = "2" * 40
    old = (home / STATE / "jobs.db").read_bytes()
    assert ready("revoke", serial).status == 0
    assert ready("withdraw", commit, "--reason", "It leaks.").status == 0
    assert findings(ready) == []
    (home / STATE / "jobs.db").write_bytes(old)
    first, second = findings(ready)
    assert serial in first
    assert commit[:12] in second
    assert ready("revoke", serial).status == 0
    assert ready("withdraw", commit, "--reason", "It leaks.").status == 0
    assert findings(ready) == []


def test_the_doctor_misses_the_file_of_revocations(ready: Run, home: Path) -> None:
    assert ready("revoke", issue(ready, "alice")).status == 0
    (home / (STATE + ".revoked")).unlink()
    assert "is missing" in findings(ready)[0]
    assert ready("init").status == 0
    assert findings(ready) == []
    (home / (STATE + ".revoked")).write_text("torn")
    assert "lacks or cannot read 2" in findings(ready)[0]
