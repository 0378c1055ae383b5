"""What watchers see of jobs that really run."""

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

from agent.cli.job.profile import config_directory
from agent.config_files import load

from .conftest import Client, run, wait_for

Event = tuple[str, dict[str, Any], str]


@contextlib.contextmanager
def watching(client: Client, path: str, last_id: str = "") -> Iterator[Iterator[Event]]:
    """The events of a stream, as curl receives them."""
    files = config_directory()
    process = subprocess.Popen(
        [
            *("curl", "--silent", "--no-buffer", "--max-time", "120", "--cacert", str(files / "ca.crt")),
            *("--cert", str(files / f"{client.user}.crt"), "--key", str(files / f"{client.user}.key")),
            *("--header", "Accept: text/event-stream"),
            *(("--header", f"Last-Event-ID: {last_id}") if last_id else ()),
            f"https://localhost:{load().http.port}{path}",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield events(iter(process.stdout))
    finally:
        process.kill()
        process.communicate()


def events(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "event" in fields:
            yield fields["event"], json.loads(fields["data"]), fields.get("id", "")
            fields = {}
        else:
            fields = {}


def upto(stream: Iterator[Event], name: str) -> list[Event]:
    """Events up to and with the first of that name."""
    found = []
    for event in stream:
        found.append(event)
        if event[0] == name:
            return found
    raise AssertionError(f"the stream ended without {name}: {found}")


def test_a_watcher_sees_a_job_come_and_go_also_over_a_restart_of_the_agent(alice: Client) -> None:
    with watching(alice, "/events?ended=0") as stream:
        last_id = upto(stream, "current")[-1][2]
        job_id = alice.submit("hello.py", lines="4", sleep="1")["job_id"]
        for name, data, event_id in stream:
            if name == "job" and data["job_id"] == job_id and data["status"] == "RUNNING":
                last_id = event_id
                break
    run("systemctl", "--user", "restart", "ml-agent.service")
    with watching(alice, "/events?ended=0", last_id) as stream:
        for name, data, _ in stream:
            assert name != "reset"
            if name == "job" and data["job_id"] == job_id and data["status"] == "COMPLETED":
                break
    # Who comes later is told of the end alone.
    with watching(alice, "/events?ended=0", last_id) as stream:
        missed = [data for name, data, _ in upto(stream, "current") if name == "job"]
    assert [data["status"] for data in missed if data["job_id"] == job_id] == ["COMPLETED"]


def test_progress_and_metrics_come_as_they_are_printed_and_stay_when_the_job_has_ended(alice: Client) -> None:
    job_id = alice.submit("train_churn_model.py", n_estimators="400")["job_id"]
    with watching(alice, f"/jobs/{job_id}/events") as stream:
        told = upto(stream, "end")
    assert told[-1][1]["status"] == "COMPLETED", told[-1]
    done = [data["done"] for name, data, _ in told if name == "progress"]
    assert done == sorted(set(done))
    assert done[-1] == 400
    status, metrics = alice.call(f"/jobs/{job_id}/metrics")
    assert (status, metrics["complete"], metrics["progress"]["done"]) == (200, True, 400)
    [series] = metrics["series"]
    assert (series["name"], series["every"], series["points"][-1]["step"]) == ("roc_auc", 1, 400)
    assert [data["value"] for name, data, _ in told if name == "metric"][-1] == series["points"][-1]["value"]
    kept = load().state_directory / "jobs" / job_id / "metrics.json"
    wait_for(kept.exists, "the log to be kept")
    assert alice.call(f"/jobs/{job_id}/metrics") == (200, metrics)


def test_top_shows_what_a_unit_uses(alice: Client) -> None:
    job_id = alice.submit("hello.py", lines="60", sleep="1")["job_id"]
    alice.wait(job_id, "RUNNING")
    status, usage = alice.call(f"/jobs/{job_id}/usage")
    assert status == 200
    assert usage["cpu_seconds"] > 0
    [shown] = [
        each for each in json.loads(alice.ml_job("top", "--json").stdout) if each["job"]["job_id"] == job_id
    ]
    assert shown["cpus_used"] >= 0
    alice.ml_job("cancel", job_id)
    alice.wait(job_id, "CANCELLED")
    assert "tasks" not in alice.call(f"/jobs/{job_id}/usage")[1]


def test_another_user_sees_nothing_of_it(alice: Client, bob: Client) -> None:
    with watching(bob, "/events?ended=0") as stream:
        upto(stream, "current")
        other = alice.submit("hello.py")["job_id"]
        alice.wait(other, "COMPLETED")
        own = bob.submit("hello.py")["job_id"]
        seen = upto(stream, "job")[-1][1]["job_id"]
    assert seen == own
    assert bob.call(f"/jobs/{other}/metrics")[0] == 404
    bob.wait(own, "COMPLETED")
