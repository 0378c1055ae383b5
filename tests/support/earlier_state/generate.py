"""Writes the recorded state of this directory. It runs in a checkout of commit 50d85d9, from its root:

    PYTHONPATH=.:tests python generate.py DIRECTORY

That commit's own agent makes the state; only the marks of jobs' units come from its stand-ins for systemd.
"""

import asyncio
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from agent.models import (
    Certificate,
    Job,
    JobRequest,
    Reason,
    Removal,
    Rerun,
    RetentionRule,
    Role,
    now,
)
from agent.quadlet import ENDED
from small_site import make_repository, make_settings
from test_jobs import INVOCATION, Scene, attempt_of, driving, end_of, fail, runs, starts_again
from waiting import until

from agent.audit import Caller
from agent.config import Settings
from agent.jobs import Jobs
from agent.store import MIGRATIONS, Store

ALICE = Caller(actor="alice", role="analyst", source="192.0.2.7")
BOB = Caller(actor="bob", role="operator", source="192.0.2.8")
KEY = "a-key-of-alice"


async def ends(
    scene: Scene, jobs: Jobs, words: str = "success exited 0", *, archived: bool = True, **fields: Any
) -> Job:
    """A job that runs, leaves an artifact and ends."""
    job = await scene.begun(jobs, **fields)
    fail(scene, job, words)
    (attempt_of(scene.settings, job) / "artifacts/result.txt").write_text(f"of {job.job_id}\n")
    jobs.look_at(job.unit)
    job = await end_of(jobs, job)
    if archived:
        await scene.store.archived(job.job_id)
    return job


async def submit(jobs: Jobs, owner: Caller = ALICE, key: str | None = None, **fields: Any) -> Job:
    request = JobRequest(script_name="succeed.py", **fields)
    return await jobs.submit(owner.actor, request, idempotency_key=key, by=owner)


async def live(scene: Scene, kinds: dict[str, str]) -> None:
    """Brings jobs into every state; `kinds` gets their ids by what became of each."""
    store = scene.store
    async with driving(scene.jobs()) as jobs:
        parameters = {"depth": "7", "rate": "0.5"}
        labels = {"team": "a", "run": "7"}
        completed = await ends(scene, jobs, name="churn", labels=labels, hyperparameters=parameters)
        failed = await ends(scene, jobs, "exit-code exited 3")
        killed = await ends(scene, jobs, "oom-kill killed 9")
        pinned = await ends(scene, jobs)
        await jobs.pin(pinned.job_id, pinned=True, by=ALICE)
        fileless, leaving, gone = [await ends(scene, jobs) for _ in range(3)]
        unarchived = await ends(scene, jobs, archived=False)
        twice = await scene.begun(jobs, max_attempts=2, retry_on=[Reason.EXIT_CODE])
        fail(scene, twice)
        jobs.look_at(twice.unit)
        second = await starts_again(scene, jobs, twice)
        fail(scene, second, "success exited 0", "f" * 32)
        jobs.look_at(twice.unit)
        await end_of(jobs, twice)
        await store.archived(twice.job_id)
        rerun = await jobs.rerun("alice", completed, Rerun(hyperparameters={"depth": "9"}), by=ALICE)

        async def asked() -> bool:
            return rerun.unit in scene.units.started

        await until(asked)
        fail(scene, rerun, "success exited 0")
        jobs.look_at(rerun.unit)
        await end_of(jobs, rerun)
        await store.archived(rerun.job_id)
        ended = (completed, failed, killed, pinned, fileless, leaving, gone)
        await store.measured({job.job_id: 4096 + number for number, job in enumerate(ended)})
        removals = {job.job_id: Removal(at=now(), rule=RetentionRule.AGE) for job in (fileless, leaving)}
        await store.remove_files(removals)
        await store.remove_jobs([gone.job_id])
        await store.left([fileless.job_id, gone.job_id])
    # A job that waits for its next attempt, jobs that run, and a queue behind them.
    slow = scene.settings.jobs.model_copy(update={"retry_delay_seconds": 300.0})
    scene.settings = scene.settings.model_copy(update={"jobs": slow})
    async with driving(scene.jobs()) as jobs:
        retrying = await scene.begun(jobs, max_attempts=3, retry_on=[Reason.EXIT_CODE])
        fail(scene, retrying)
        jobs.look_at(retrying.unit)

        async def backing_off() -> bool:
            return (await jobs.get(retrying.job_id)).not_before is not None

        await until(backing_off)
        running = await runs(scene, jobs)
        cancelling = await runs(scene, jobs)
        await jobs.cancel(cancelling.job_id, by=BOB)
        created, ending = await scene.begun(jobs), await runs(scene, jobs)
        waiting = await submit(jobs, key=KEY, priority=-3, hyperparameters=parameters)
        cancelled = await submit(jobs, BOB)
        await jobs.cancel(cancelled.job_id, by=ALICE)
        await submit(jobs, BOB, key=KEY)
    # This job ends after the agent has stopped.
    scene.mark(ending, ENDED, f"success exited 0 {INVOCATION}")
    jobs_by_kind = {
        "completed": completed,
        "failed": failed,
        "killed": killed,
        "pinned": pinned,
        "fileless": fileless,
        "leaving": leaving,
        "gone": gone,
        "unarchived": unarchived,
        "twice": twice,
        "rerun": rerun,
        "retrying": retrying,
        "running": running,
        "cancelling": cancelling,
        "created": created,
        "ending": ending,
        "waiting": waiting,
        "cancelled": cancelled,
    }
    kinds |= {kind: job.job_id for kind, job in jobs_by_kind.items()}


async def certificates(store: Store) -> None:
    """Certificates that were used, renewed, revoked, have expired, or are older than authorities' names."""
    moment = now()

    def issued(serial: str, user: str, days: int = 30, **fields: Any) -> Certificate:
        at = moment - timedelta(days=2)
        known = {"serial": serial, "user": user, "role": Role.ANALYST, "issued_at": at}
        known |= {"expires_at": at + timedelta(days=days), "authority": "ab" * 32, "fingerprint": "cd" * 32}
        return Certificate.model_validate(known | fields)

    operator = Caller(actor="root", role="account", source="this host")
    for each in (
        issued("1a", "alice"),
        issued("2b", "bob", role=Role.OPERATOR),
        issued("3c", "carol", days=1),
        issued("4d", "dave", authority="", fingerprint=""),
    ):
        await store.add_certificate(each, deed=operator.did("issueCertificate", each.serial, user=each.user))
    await store.certificate_used("1a", moment)
    renewed = issued("5e", "alice", renews="1a", issued_at=moment)
    await store.renew_certificate(renewed, limit=100, deed=ALICE.did("renewCertificate", "5e"))
    await store.revoke(["2b"], moment, deed=operator.did("revokeCertificate"))


async def read(store: Store, kinds: dict[str, str]) -> dict[str, Any]:
    """What that commit's own code reads from the database."""
    jobs = {name: await store.job(job_id) for name, job_id in kinds.items()}
    history, current = await store.current(ended=100)
    key = await fingerprint(store, "alice")
    keyed = await store.job_of_key("alice", KEY, key)
    oldest = await store.oldest(-1, with_files=False)
    return {
        "kinds": kinds,
        "jobs": {name: job and job.model_dump(mode="json") for name, job in jobs.items()},
        "page": [job.job_id for job in (await store.page(limit=100)).jobs],
        "active": [job.job_id for job in await store.active_jobs()],
        "unarchived": [job.job_id for job in await store.unarchived_jobs()],
        "managers": {name: await store.manager_of(job_id) for name, job_id in kinds.items()},
        "uses": [use.model_dump(mode="json") for use in await store.uses()],
        "key": {"owner": "alice", "key": KEY, "fingerprint": key, "job": keyed and keyed.job_id},
        "unmeasured": await store.unmeasured(100),
        "oldest": [[job.job_id, job.finished_at.isoformat(), job.bytes] for job in oldest],
        "with_files": [job.job_id for job in await store.oldest(-1, with_files=True)],
        "kept": vars(await store.kept()),
        "leaving": await store.leaving(),
        "history": history.model_dump(mode="json"),
        "current": current,
        "changes": [
            [c.seq, c.job_id, c.owner, c.job is not None] for c in await store.changes(0, limit=1000)
        ],
        "certificates": [each.model_dump(mode="json") for each in await store.certificates()],
        "audit_links": [str(link) for link in await store.audit_links()],
        "audit": [[row.seq, row.entry, row.hash] for row in await store.audit_rows(0, 1000)],
        "schema": len(MIGRATIONS),
    }


async def fingerprint(store: Store, owner: str) -> str:
    query = "SELECT fingerprint FROM idempotency_keys WHERE owner = ? AND key = ?"
    return str((await store._run(lambda db: db.execute(query, (owner, KEY)).fetchone()))[0])


def files(settings: Settings) -> list[dict[str, Any]]:
    """The state and runtime directories without the database; STATE and RUNTIME stand for their paths."""
    found = []
    roots = {"STATE": settings.state_directory, "RUNTIME": settings.runtime_directory}
    for name, root in roots.items():
        for path in sorted(root.rglob("*")):
            if path.name.startswith("jobs.db"):
                continue
            entry: dict[str, Any] = {"path": f"{name}/{path.relative_to(root)}"}
            if path.is_symlink():
                entry["link"] = str(path.readlink()).replace(str(roots["RUNTIME"]), "RUNTIME")
            elif path.is_file():
                text = path.read_text()
                entry |= {"blanks": len(text)} if text and not text.strip() else {"text": text}
            if not path.is_symlink():
                entry["mode"] = path.stat().st_mode & 0o777
                entry["mtime_ns"] = path.stat().st_mtime_ns
            found.append(entry)
    return found


async def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        make_repository(base / "repository", {"succeed.py": "echo hello"})
        settings = make_settings(base, runtime=base / "runtime")
        soon = settings.jobs.model_copy(update={"retry_delay_seconds": 0.1})
        kinds: dict[str, str] = {}
        async with Store.open(settings.database) as store:
            await certificates(store)
            await store.archive_audit(now(), lambda _: None, BOB.did("archiveAudit"))
            await live(Scene(settings.model_copy(update={"jobs": soon}), store), kinds)
            expected = await read(store, kinds)
        with closing(sqlite3.connect(settings.database)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            sql = "\n".join([*db.iterdump(), f"PRAGMA user_version = {version};"])
        (target / "jobs.sql").write_text(sql + "\n")
        (target / "read.json").write_text(json.dumps(expected, indent=1) + "\n")
        (target / "files.json").write_text(json.dumps(files(settings), indent=1) + "\n")


asyncio.run(main(Path(sys.argv[1])))
