"""The Python client: what it sends, what it returns, how it fails, and where it can be called."""

import asyncio
import gc
import inspect
import pickle
import re
import sys
import threading
import types
import typing
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest
from aiohttp import web

import ml_job
from agent.api.routes import ROUTES
from agent.model.job import JobRequest, Rerun
from agent.model.sweep import SweepRequest
from ml_job import (
    AsyncClient,
    Client,
    ClientError,
    JobOptions,
    JobState,
    LogGap,
    LogLine,
    RerunOptions,
    SweepOptions,
)
from tests.support.ml_job import Home
from tests.support.stand_in_agent import (
    CREATED,
    JOB_ID,
    StandIn,
    cut,
    event,
    hang,
    job,
    line,
    model,
    problem,
    sweep,
    trial,
)
from tests.support.waiting import until

END = event("end", job(status="COMPLETED", exit_status=0))
BEYOND_THE_API = {  # what takes several calls
    *("wait_for_job", "wait_for_sweep", "follow_logs", "download_artifacts", "load_model", "load_pickle"),
    *("download_alias", "load_alias", "load_alias_pickle"),
}


@pytest.fixture
def client(agent: StandIn) -> Iterator[Client]:
    with Client() as client:
        yield client


def methods(kind: type) -> dict[str, inspect.Signature]:
    """Its public methods."""
    return {
        name: inspect.signature(each)
        for name, each in vars(kind).items()
        if not name.startswith("_") and inspect.isfunction(each)
    }


def test_a_job_is_submitted_waited_for_and_read(agent: StandIn, client: Client) -> None:
    agent.streams = [
        [event("state", job(status="RUNNING")), cut],
        [event("state", job(status="RUNNING")), END],
    ]
    known = client.submit_job("train.py", {"depth": 3, "rate": 0.5, "deep": True}, name="first", priority=-1)
    assert known.status is JobState.PENDING
    assert agent.requests[0][3] == {
        "script_name": "train.py",
        "hyperparameters": {"depth": "3", "rate": "0.5", "deep": "true"},
        "name": "first",
        "priority": -1,
    }
    ended = client.wait_for_job(known)
    assert (ended.job_id, ended.status, ended.exit_status) == (JOB_ID, JobState.COMPLETED, 0)
    agent.plain_log = b"hello\n\xff"
    assert client.get_logs(ended) == "hello\n\ufffd"
    assert [each.job_id for each in client.list_jobs(status="PENDING", limit=5)] == [JOB_ID]
    assert agent.paths()[-1] == "/jobs?status=PENDING&limit=5"


def test_a_job_that_has_ended_is_not_waited_for(agent: StandIn, client: Client) -> None:
    agent.jobs = [job(status="FAILED")]
    assert client.wait_for_job(JOB_ID).status is JobState.FAILED
    assert client.cancel_job(JOB_ID).job_id == JOB_ID


def test_the_same_key_is_the_same_submission(agent: StandIn, client: Client) -> None:
    agent.answers = {"POST /jobs": [None]}  # the first answer is lost
    client.submit_job("train.py", key="tuesday")
    assert [headers["Idempotency-Key"] for _, _, headers, _ in agent.requests] == ["tuesday"] * 2
    for _ in range(2):
        client.rerun_job(JOB_ID, {"depth": 4}, labels={"run": "2"})
    first, second = agent.requests[2:]
    assert first[2]["Idempotency-Key"] != second[2]["Idempotency-Key"]
    assert first[3] == {"hyperparameters": {"depth": "4"}, "labels": {"run": "2"}}


def test_metrics_are_those_of_the_contract(agent: StandIn, client: Client) -> None:
    point = {"step": 1, "value": 0.5, "time": CREATED, "since_a_later_version": 1}
    agent.metrics_changes = {"series": [{"name": "auc", "count": 1, "every": 1, "points": [point]}]}
    (series,) = client.get_metrics(JOB_ID).series
    assert (series.name, series.points[0].value) == ("auc", 0.5)


def test_a_log_is_followed_over_lost_connections_and_shows_its_gaps(agent: StandIn, client: Client) -> None:
    agent.jobs = [job(status="RUNNING")]
    gap = event("gap", {"after": 2, "count": 3, "cause": "rate-limit", "time": CREATED}, "token-3")
    agent.streams = [[line(1, "one"), line(2, "two")], [gap, line(6, "six"), END]]
    seen = list(client.follow_logs(JOB_ID, tail=10))
    assert [each.text if isinstance(each, LogLine) else each.count for each in seen] == [
        "one",
        "two",
        3,
        "six",
    ]
    assert isinstance(seen[2], LogGap)
    first, second = (each for each in agent.requests if "/logs" in each[1])
    assert first[1].endswith("?tail=10")
    assert second[2]["Last-Event-ID"] == "token-2"


def test_a_log_that_is_no_longer_followed_leaves_no_connection(agent: StandIn, client: Client) -> None:
    agent.jobs = [job(status="RUNNING")]
    agent.streams = [[line(1, "one"), hang], [line(1, "one"), END]]
    for each in client.follow_logs(JOB_ID):
        assert isinstance(each, LogLine)
        break
    assert len(list(client.follow_logs(JOB_ID))) == 1


def test_a_wait_ends_after_its_timeout(agent: StandIn, client: Client) -> None:
    agent.jobs, agent.sweeps = [job(status="RUNNING")], [sweep(status="RUNNING")]
    agent.streams = [[hang]]
    with pytest.raises(TimeoutError):
        client.wait_for_job(JOB_ID, timeout=0.05)
    with pytest.raises(TimeoutError):
        client.wait_for_sweep(JOB_ID, timeout=0.05)


def test_a_sweep_is_submitted_and_its_trials_are_read(agent: StandIn, client: Client) -> None:
    objective = {"metric": "auc", "direction": "maximize"}
    known = client.submit_sweep(
        "train.py", {"rate": 1}, space={"depth": {"low": 2, "high": 9}}, objective=objective, trials=3
    )
    assert agent.requests[0][3] == {
        "script_name": "train.py",
        "hyperparameters": {"rate": "1"},
        "strategy": "tpe",
        "space": {"depth": {"low": 2, "high": 9}},
        "objective": objective,
        "trials": 3,
    }
    agent.sweeps = [sweep(status="COMPLETED")]
    assert client.wait_for_sweep(known).status == "COMPLETED"
    agent.trials = [trial(number, number / 10) for number in range(150)]
    assert [each.value for each in client.list_trials(known)] == [number / 10 for number in range(150)]
    assert client.list_sweeps(owner="alice")[0].sweep_id == client.get_sweep(JOB_ID).sweep_id == JOB_ID
    assert client.cancel_sweep(known).sweep_id == JOB_ID


def test_an_error_has_what_the_problem_document_says(agent: StandIn, client: Client) -> None:
    fields = [{"field": "hyperparameters.depth", "message": "must be at most 9"}]
    refusal = problem(422, "invalid-request", "The request is not valid.", hint="Look.", errors=fields)
    agent.answers = {"POST /jobs": [refusal]}
    with pytest.raises(ClientError) as caught:
        client.submit_job("train.py")
    error = caught.value
    assert (error.status, error.code, error.detail) == (422, "invalid-request", "The request is not valid.")
    assert (error.hint, error.errors[0].field) == ("Look.", "hyperparameters.depth")
    assert str(error).splitlines()[1] == "  hyperparameters.depth: must be at most 9"
    for ask in (client.get_job, client.wait_for_job, client.wait_for_sweep):
        with pytest.raises(ClientError) as caught:
            ask("a" * 12)
        assert (caught.value.status, caught.value.code[-9:]) == (404, "not-found")
    with pytest.raises(ClientError) as caught:
        list(client.follow_logs("../hosts"))
    assert agent.paths()[-1] == "/jobs/..%2Fhosts"


def test_without_an_agent_or_an_identity_the_error_says_so(home: Home) -> None:
    with Client(server="https://localhost:1") as client, pytest.raises(ClientError) as caught:
        client.list_jobs()
    assert (caught.value.status, caught.value.code) == (0, "")
    assert "Cannot connect" in caught.value.detail
    with pytest.raises(ClientError, match="no identity 'bob'"):
        Client(identity="bob")


async def test_it_blocks_also_where_a_loop_runs_already(agent: StandIn) -> None:
    """As in a cell of a notebook."""
    agent.streams = [[END]]
    with Client() as client:
        assert client.wait_for_job(client.submit_job("train.py")).status is JobState.COMPLETED


async def test_programs_with_a_loop_await_the_same_methods(agent: StandIn) -> None:
    agent.streams = [[END], [line(1, "one"), END]]
    async with AsyncClient() as client:
        known = await client.submit_job("train.py")
        jobs = await asyncio.gather(client.wait_for_job(known), *[client.get_job(known) for _ in range(5)])
        assert {each.job_id for each in jobs} == {JOB_ID}
        assert [each async for each in client.follow_logs(known)] == [
            LogLine.model_validate_json(line(1, "one").split(b"data: ")[1])
        ]


async def test_a_client_that_is_closed_cancels_what_waits_and_does_nothing_more(agent: StandIn) -> None:
    let_go = threading.Event()

    async def held(request: web.Request) -> None:
        try:
            await hang(request)
        finally:
            let_go.set()

    agent.jobs, agent.streams = [job(status="RUNNING")], [[held]]
    client = Client()
    waiting = asyncio.create_task(asyncio.to_thread(client.wait_for_job, JOB_ID))
    await until(lambda: any("/events" in path for path in agent.paths()))
    client.close()
    with pytest.raises((CancelledError, asyncio.CancelledError)):
        await waiting
    client.close()
    await until(let_go.is_set)
    with pytest.raises(RuntimeError, match="closed"):
        client.list_jobs()


def test_a_client_that_is_forgotten_leaves_no_thread(agent: StandIn) -> None:
    def use() -> None:
        Client().list_jobs()

    use()
    gc.collect()
    assert not [each for each in threading.enumerate() if each.name == "ml-job client"]


def test_both_clients_have_the_same_methods_named_as_the_calls_of_the_api() -> None:
    of_both = methods(AsyncClient)
    assert {name: methods(Client)[name] for name in of_both} == of_both
    assert methods(Client).keys() == of_both.keys() | {"close"}
    calls = {re.sub("([A-Z])", r"_\1", route.operation_id).lower() for route in ROUTES}
    assert of_both.keys() - BEYOND_THE_API <= calls
    assert of_both.keys() >= BEYOND_THE_API
    assert all(inspect.getdoc(getattr(Client, name)) for name in of_both)


@pytest.mark.parametrize(
    ("options", "request_of"),
    [(JobOptions, JobRequest), (RerunOptions, Rerun), (SweepOptions, SweepRequest)],
    ids=["job", "rerun", "sweep"],
)
def test_an_option_is_one_of_the_request(options: type, request_of: type[ml_job.Job]) -> None:
    assert typing.get_type_hints(options).keys() <= request_of.model_fields.keys()


@pytest.mark.parametrize("force", [False, True])
def test_artifacts_are_downloaded_and_checked(agent: StandIn, client: Client, force: bool) -> None:
    agent.files = {"model/a.txt": b"a", "b.txt": b"b"}
    assert [each.path for each in client.list_artifacts(JOB_ID).artifacts] == ["model/a.txt", "b.txt"]
    (place,) = client.download_artifacts(JOB_ID, "model", directory="here")
    assert (place, place.read_bytes()) == (Path("here/model/a.txt"), b"a")
    place.write_bytes(b"mine")
    if not force:
        with pytest.raises(ClientError, match="other files in the place"):
            client.download_artifacts(JOB_ID, directory="here")
        assert not Path("here/b.txt").exists()
    else:
        assert len(client.download_artifacts(JOB_ID, directory="here", force=True)) == 2
        assert place.read_bytes() == b"a"
    agent.manifest_changes = {"sha256": "0" * 64}
    with pytest.raises(ClientError, match="does not match"):
        client.download_artifacts(JOB_ID, "b.txt", directory="there")


PICKLE = b"cos\nsystem\n(S'touch ran'\ntR."  # runs a command where it is loaded


def test_a_pickle_is_loaded_only_by_the_method_that_says_so(
    agent: StandIn, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.files = {"model.joblib": PICKLE, "directory/model.joblib": PICKLE}
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(ClientError, match="is to run the code in it"):
        client.load_model(JOB_ID, "model.joblib")
    for path, why in (("model.pkl", "no artifact"), ("model.joblib", "joblib is not installed")):
        with pytest.raises(ClientError, match=why):
            client.load_pickle(JOB_ID, path)
    assert not Path("ran").exists()
    library = types.ModuleType("joblib")
    library.load = lambda place: pickle.loads(place.read_bytes())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joblib", library)
    assert client.load_pickle(JOB_ID, "model.joblib") == 0
    assert Path("ran").exists()


def test_a_model_is_read_moved_and_loaded_by_its_alias(
    agent: StandIn, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.files = {"trained": b"trained"}
    agent.models = [model()]
    (known,) = client.list_models()
    assert (known.model, client.get_model("churn")) == ("churn", known)
    champion = client.get_alias("churn", "champion")
    assert (champion.job_id, champion.path) == (JOB_ID, "out/model.joblib")
    client.set_alias("churn", "champion", JOB_ID, champion.path, version=champion.version)
    method, path, headers, body = agent.requests[-1]
    assert (method, path) == ("PUT", "/models/churn/aliases/champion")
    assert (headers["If-Match"], body) == (f'"{champion.version}"', {"job_id": JOB_ID, "path": champion.path})
    assert client.download_alias("churn", "champion", directory="here").read_bytes() == b"trained"
    with pytest.raises(ClientError, match="is to run the code in it"):
        client.load_alias("churn", "champion")
    library = types.ModuleType("joblib")
    library.load = lambda place: place.read_bytes()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "joblib", library)
    assert client.load_alias_pickle("churn", "champion") == b"trained"
    agent.files = {"trained": b"another"}  # it has moved, or was changed on the way
    with pytest.raises(ClientError, match="does not match"):
        client.download_alias("churn", "champion", directory="there")
    assert not Path("there/model.joblib").exists()


def test_a_skops_file_is_loaded_with_the_types_that_are_trusted(
    agent: StandIn, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.files = {"model.skops": b"x"}
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(ClientError, match="skops is not installed"):
        client.load_model(JOB_ID, "model.skops")
    library = types.ModuleType("skops.io")
    library.load = lambda place, trusted: (place.read_bytes(), trusted)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "skops", types.ModuleType("skops"))
    monkeypatch.setitem(sys.modules, "skops.io", library)
    assert client.load_model(JOB_ID, "model.skops", trusted=("own.Scaler",)) == (b"x", ["own.Scaler"])
