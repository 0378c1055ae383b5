"""Bad input: each request is refused with its status, problem code and field, and leaves nothing behind."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent.api.server.requests import validate
from agent.errors import AgentError, Problem
from agent.model.job import JobRequest
from tests.support.api_client import Answer, Client
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed, Served


def body(script_name: Any = "succeed.py", **fields: Any) -> dict[str, Any]:
    return {"script_name": script_name, "hyperparameters": {}} | fields


async def refused(
    served: AnyServed, answer: Answer, status: int, problem: str, *fields: str, left: bool = False
) -> None:
    """Checks that the answer is this problem with these fields, and that no job is left."""
    assert (answer.status, answer.problem, answer.fields) == (status, problem, list(fields)), answer.body
    if not left:
        await served.nothing_is_left()


@pytest.mark.parametrize(
    "name",
    [
        "absent.py",
        "_helper.py",
        ".hidden.py",
        "passwd.py",
        "succeed",
        "SUCCEED.py",
        "../scripts/succeed.py",
        "./succeed.py",
        "scripts/succeed.py",
        "a/../succeed.py",
        "/etc/passwd",
        "//succeed.py",
        "succeed.py/",
        "succeed.py ",
        "%2e%2e/succeed.py",
        "..\\succeed.py",
        "succeed.py; id",
        "$(id).py",
        "\u0455ucceed.py",
        "\u202esucceed.py",
        "-rf.py",
        "HEAD:scripts/succeed.py",
    ],
)
async def test_a_script_outside_of_the_catalogue_is_not_found(
    served: Served, alice: Client, name: str
) -> None:
    answer = await alice.post("/jobs", body(name))
    await refused(served, answer, 422, "script-not-found", "script_name")


@pytest.mark.parametrize("name", ["", "a\nb.py", "a\0.py", "a\x1b[31m.py", "a\x7f.py", "a\x85.py", "x" * 256])
async def test_an_invalid_script_name_is_refused(served: Served, alice: Client, name: str) -> None:
    await refused(served, await alice.post("/jobs", body(name)), 422, "invalid-request", "script_name")


@pytest.mark.parametrize("value", [None, 1, True, ["succeed.py"], {"name": "succeed.py"}])
async def test_a_script_name_must_be_a_string(served: Served, alice: Client, value: Any) -> None:
    await refused(served, await alice.post("/jobs", body(value)), 422, "invalid-request", "script_name")


@pytest.mark.parametrize(
    "name",
    ["", "1a", "a-b", "a b", "a=b", "a.b", "ä", "a\n", "a\0", "A" * 65, "$PATH", "a%n", "_a", "[Service]"],
)
async def test_an_invalid_parameter_name_is_refused_by_name(served: Served, alice: Client, name: str) -> None:
    answer = await alice.post("/jobs", body(hyperparameters={name: "1"}))
    await refused(served, answer, 422, "invalid-request", f"hyperparameters.{name[:80]}")


@pytest.mark.parametrize("value", [1, 1.5, True, None, ["1"], {"a": "1"}, "a\nb", "a\rb", "a\0b", "x" * 4097])
async def test_an_invalid_parameter_value_is_refused_by_name(
    served: Served, alice: Client, value: Any
) -> None:
    answer = await alice.post("/jobs", body(hyperparameters={"depth": value}))
    await refused(served, answer, 422, "invalid-request", "hyperparameters.depth")


async def test_a_number_as_a_parameter_is_refused_with_the_correction(alice: Client) -> None:
    answer = await alice.post("/jobs", body(hyperparameters={"depth": 5}))
    assert answer.json["errors"][0]["message"] == 'must be a string; write "5" in quotes'


async def test_too_many_parameters_are_refused(served: Served, alice: Client) -> None:
    answer = await alice.post("/jobs", body(hyperparameters={f"p{number}": "1" for number in range(101)}))
    await refused(served, answer, 422, "invalid-request", "hyperparameters")


async def test_two_parameters_with_the_same_variable_are_refused(served: Served, alice: Client) -> None:
    answer = await alice.post("/jobs", body(hyperparameters={"depth": "1", "DEPTH": "2"}))
    await refused(served, answer, 422, "invalid-request", "body")
    assert "HP_DEPTH" in answer.json["errors"][0]["message"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"hyperparameters": []}, "hyperparameters"),
        ({"hyperparameters": None}, "hyperparameters"),
        ({"script": "succeed.py"}, "script"),
        ({"owner": "bob"}, "owner"),
        ({"image": "evil"}, "image"),
        ({"ref": "HEAD^"}, "ref"),
        ({"ref": "a b"}, "ref"),
        ({"ref": "a\n"}, "ref"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"labels": {"A": "b"}}, "labels.A"),
        ({"labels": {"a": "b\n"}}, "labels.a"),
        ({"limits": {"gpus": 1}}, "limits.gpus"),
        ({"limits": {"cpus": 0}}, "limits.cpus"),
        ({"limits": {"memory_bytes": "1; id"}}, "limits.memory_bytes"),
        ({"limits": {"tasks": 100_000}}, "limits.tasks"),
        ({"limits": {"tasks": True}}, "limits.tasks"),
        ({"limits": {"tasks": "16"}}, "limits.tasks"),
        ({"limits": {"run_time_seconds": -1}}, "limits.run_time_seconds"),
    ],
)
async def test_an_unknown_or_invalid_field_is_named(
    served: Served, alice: Client, fields: dict[str, Any], name: str
) -> None:
    await refused(served, await alice.post("/jobs", body(**fields)), 422, "invalid-request", name)


@pytest.mark.parametrize(
    ("ref", "why"),
    [
        ("HEAD~1", "must not have a space, a control character or one of ~^:?*[\\"),
        ("", "must not be empty; leave it out to run the current commit"),
        ("a" * 256, "must have at most 255 characters"),
    ],
)
def test_an_invalid_ref_is_refused_with_what_is_expected(ref: str, why: str) -> None:
    with pytest.raises(AgentError) as caught:
        validate(JobRequest, body(ref=ref))
    (field,) = caught.value.fields
    assert field.field == "ref"
    assert field.message.startswith(why)
    assert not ref or field.message.endswith("; give the id of the commit instead")


async def test_a_missing_script_name_is_named(served: Served, alice: Client) -> None:
    answer = await alice.post("/jobs", {"hyperparameters": {}})
    await refused(served, answer, 422, "invalid-request", "script_name")


@pytest.mark.parametrize("ref", ["no/such", "--upload-pack=id", "--all", "a..b", "größe"])
async def test_an_unknown_ref_is_named(served: Served, alice: Client, ref: str) -> None:
    await refused(served, await alice.post("/jobs", body(ref=ref)), 422, "ref-not-found", "ref")


async def test_undeclared_and_invalid_parameters_of_a_script_are_refused(
    served: Served, alice: Client
) -> None:
    for parameters, name in (
        ({"width": "1"}, "width"),
        ({"depth": "11"}, "depth"),
        ({"depth": "x"}, "depth"),
    ):
        answer = await alice.post("/jobs", body("declared.py", hyperparameters=parameters))
        await refused(served, answer, 422, "invalid-request", f"hyperparameters.{name}")


async def test_a_script_whose_secret_or_network_is_missing_is_refused(served: Served, alice: Client) -> None:
    served.scene.podman.secrets = frozenset()
    answer = await alice.post("/jobs", body("declared.py"))
    await refused(served, answer, 422, "secret-missing", "script_name")
    answer = await alice.post("/jobs", body("networked.py"))
    await refused(served, answer, 422, "invalid-request", "script_name")


@over_any_backend
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"succeed.py"',
        b"1",
        b"{'script_name': 'succeed.py'}",
        b'{"script_name": "succeed.py"} trailing',
        b'{"script_name": "succeed.py", "script_name": "fail.py"}',
        b'{"script_name": "succeed.py", "hyperparameters": {"a": "1", "a": "2"}}',
        b'{"script_name": "succeed.py", "limits": {"cpus": NaN}}',
        b'{"script_name": "succeed.py", "limits": {"cpus": -Infinity}}',
        b'{"script_name": "succeed.py\x00"}',
        b'{"script_name": "succeed\xff.py"}',
        b'\xef\xbb\xbf{"script_name": "succeed.py"}',
        b"\xff\xfe{\x00}\x00",
        b"\x1f\x8b\x08\x00",
        b"[" * 100_000,
        b'{"a":' * 40_000,
        b'{"limits": {"tasks": ' + b"9" * 5000 + b"}}",
    ],
    ids=lambda data: ascii(data[:40]),
)
async def test_a_body_that_is_not_a_json_object_is_refused(
    served: AnyServed, alice: Client, data: bytes
) -> None:
    await refused(served, await alice.post("/jobs", data), 400, "invalid-json")


@pytest.mark.parametrize("text", [r'{"\ud800": 1}', r'{"script_name": "\ud800.py"}'])
async def test_half_of_a_surrogate_pair_is_refused_with_a_readable_answer(
    served: Served, alice: Client, text: str
) -> None:
    answer = await alice.post("/jobs", text.encode())
    assert (answer.status, answer.problem) == (422, "invalid-request")
    assert len(answer.fields) >= 1
    await served.nothing_is_left()


@over_any_backend
@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b'{"script_name": "succeed.py", "name": null}', ["name"]),
        (b'{"script_name": "succeed.py", "retry_on": null, "ref": null}', ["retry_on", "ref"]),
        (b'{"script_name": "succeed.py", "limits": {"cpus": null}}', ["limits.cpus"]),
        (rb'{"script_name": "succeed.py", "\ud800": null}', ["\\ud800"]),
    ],
)
async def test_null_is_refused_with_the_advice_to_leave_the_field_out(
    served: AnyServed, alice: Client, text: bytes, fields: list[str]
) -> None:
    answer = await alice.post("/jobs", text)
    await refused(served, answer, 422, "invalid-request", *fields)
    assert answer.json["errors"][0]["message"] == "must not be null; leave it out"


async def test_an_integer_may_be_written_with_a_zero_fraction(alice: Client) -> None:
    body = b'{"script_name": "succeed.py", "priority": -3.0, "limits": {"tasks": 5.0, "memory_bytes": 2e8}}'
    job = (await alice.post("/jobs", body)).json
    assert (job["priority"], job["limits"]["tasks"], job["limits"]["memory_bytes"]) == (-3, 5, 200_000_000)


@pytest.mark.parametrize("text", ["3.5", "1e999", "-0.5"])
async def test_another_fraction_is_not_an_integer(served: Served, alice: Client, text: str) -> None:
    answer = await alice.post("/jobs", f'{{"script_name": "succeed.py", "priority": {text}}}'.encode())
    await refused(served, answer, 422, "invalid-request", "priority")


@over_any_backend
@pytest.mark.parametrize("name", ["Idempotency-Key", "Last-Event-ID"])
async def test_a_duplicate_header_is_refused(alice: Client, name: str) -> None:
    headers = [("Content-Type", "application/json"), (name, "1"), (name, "2")]
    path, method = ("/events", "GET") if name == "Last-Event-ID" else ("/jobs", "POST")
    answer = await alice(method, path, data=json.dumps(body()), headers=headers)
    assert (answer.status, answer.fields) == (422, [name])


async def test_an_infinite_number_is_refused(served: Served, alice: Client) -> None:
    answer = await alice.post("/jobs", b'{"script_name": "succeed.py", "limits": {"cpus": 1e999}}')
    await refused(served, answer, 422, "invalid-request", "limits.cpus")


async def test_the_number_of_field_errors_in_an_answer_is_bounded(alice: Client) -> None:
    answer = await alice.post("/jobs", body(**{f"field{number}": 1 for number in range(190)}))
    assert len(answer.fields) == 20


@over_any_backend
@pytest.mark.parametrize("size", [256 * 1024 + 1, 2**20])
async def test_a_too_large_body_is_refused(served: AnyServed, alice: Client, size: int) -> None:
    await refused(served, await alice.post("/jobs", b" " * size), 413, "body-too-large")


@over_any_backend
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/xml", "x"])
async def test_an_unsupported_content_type_is_refused(served: AnyServed, alice: Client, kind: str) -> None:
    answer = await alice.post("/jobs", body(), **{"Content-Type": kind})
    await refused(served, answer, 415, "unsupported-media-type")


async def test_a_content_type_with_a_charset_is_accepted(alice: Client) -> None:
    answer = await alice.post("/jobs", body(), **{"Content-Type": "application/json; charset=utf-8"})
    assert answer.status == 202


@over_any_backend
@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/jobs?unknown=1", "unknown"),
        ("/jobs?limit=0", "limit"),
        ("/jobs?limit=201", "limit"),
        ("/jobs?limit=many", "limit"),
        ("/jobs?limit=1&limit=2", "limit"),
        ("/jobs?status=DONE", "status"),
        ("/jobs?cursor=-1", "cursor"),
        ("/jobs?cursor=1;--", "cursor"),
        ("/jobs?cursor=%00", "cursor"),
        ("/jobs?cursor=" + "1" * 65, "cursor"),
        ("/jobs?cursor=" + "1" * 19, "cursor"),
        ("/jobs?cursor=", "cursor"),
        ("/jobs?cursor=x", "cursor"),
        ("/jobs?cursor=%C2%B2", "cursor"),
        ("/jobs?script=%00", "script"),
        ("/jobs?script=%0A", "script"),
        ("/jobs?owner=Alice", "owner"),
        ("/scripts?ref=HEAD~1", "ref"),
        ("/scripts?commit=HEAD", "commit"),
        ("/jobs/{job}/logs?until=0.5", "until"),
        ("/jobs/{job}/logs?until=1767225600", "until"),
        ("/jobs/{job}/logs?since=1767225600", "since"),
        ("/jobs/{job}/logs?since=2026-01-01", "since"),
    ],
)
async def test_an_invalid_query_is_refused_by_name(alice: Client, path: str, field: str) -> None:
    job = await alice.submit()
    answer = await alice.get(path.format(job=job["job_id"]))
    assert (answer.status, answer.problem, answer.fields) == (422, "invalid-request", [field])


@pytest.mark.parametrize("query", ["?script=%ED%A0%80", "?script=%FF", "?script=%F0%9F%98%80"])
async def test_a_query_with_unusual_bytes_finds_nothing(alice: Client, query: str) -> None:
    answer = await alice.get("/jobs" + query)
    assert answer.status in (200, 422)


@over_any_backend
@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9"])
async def test_an_invalid_idempotency_key_is_refused(served: AnyServed, alice: Client, key: str) -> None:
    answer = await alice.post("/jobs", body(), **{"Idempotency-Key": key})
    await refused(served, answer, 422, "invalid-request", "Idempotency-Key")


@over_any_backend
async def test_the_same_key_and_body_return_the_same_job(alice: Client) -> None:
    first = await alice.post("/jobs", body(), **{"Idempotency-Key": "k"})
    again = await alice.post(
        "/jobs", b'{ "hyperparameters":{},"script_name":"succeed.py"}', **{"Idempotency-Key": "k"}
    )
    assert (again.status, again.json["job_id"]) == (202, first.json["job_id"])
    assert again.headers["Location"] == first.headers["Location"]
    assert len((await alice.get("/jobs")).json["jobs"]) == 1


@over_any_backend
async def test_the_same_key_with_another_body_is_refused(served: AnyServed, alice: Client) -> None:
    await alice.post("/jobs", body(), **{"Idempotency-Key": "k"})
    answer = await alice.post("/jobs", body("fail.py"), **{"Idempotency-Key": "k"})
    await refused(served, answer, 422, "idempotency-mismatch", "Idempotency-Key", left=True)
    assert len((await alice.get("/jobs")).json["jobs"]) == 1


@over_any_backend
async def test_each_user_has_keys_of_their_own(alice: Client, bob: Client) -> None:
    hers = await alice.post("/jobs", body(), **{"Idempotency-Key": "k"})
    his = await bob.post("/jobs", body("fail.py"), **{"Idempotency-Key": "k"})
    assert his.status == 202
    assert his.json["job_id"] != hers.json["job_id"]


async def test_too_many_waiting_jobs_are_refused_with_retry_after(serve: Callable[..., Any]) -> None:
    served = await serve(site={"jobs": {"max_waiting_per_user": 1}})
    alice = await served.known("alice")
    await alice.submit()
    answer = await alice.post("/jobs", body())
    assert (answer.status, answer.problem) == (429, "too-many-jobs")
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_full_disk_answers_507_and_adds_no_job(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any, **__: Any) -> None:
        raise AgentError(Problem.STORAGE_FULL, "The disk that holds the job store is full.")

    monkeypatch.setattr(served.scene.store.jobs, "add", full)
    answer = await alice.post("/jobs", body())
    assert (answer.status, answer.problem) == (507, "storage-full")
    await served.nothing_is_left()


async def test_an_unexpected_error_is_logged_and_not_shown(
    served: Served, alice: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a secret of the implementation")

    monkeypatch.setattr(served.scene.store.jobs, "page", broken)
    answer = await alice.get("/jobs")
    assert (answer.status, answer.problem) == (500, "internal")
    assert b"secret" not in answer.body


@pytest.mark.parametrize(
    ("method", "path", "status", "problem"),
    [
        ("GET", "/", 404, "no-such-route"),
        ("GET", "/jobs/", 404, "no-such-route"),
        ("GET", "/etc/passwd", 404, "no-such-route"),
        ("GET", "/jobs/../scripts/x", 404, "no-such-route"),
        ("PUT", "/jobs", 405, "method-not-allowed"),
        ("DELETE", "/jobs/abcdefghijkl", 405, "method-not-allowed"),
        ("TRACE", "/jobs", 405, "method-not-allowed"),
        ("GET", "/" * 101, 400, "malformed-request"),
        ("GET", "/jobs/abcdefghijkl/artifacts/" + "a/" * 4000, 400, "malformed-request"),
        ("GET", "/jobs/abcdefghijkl/artifacts/" + "a/" * 96 + "a", 404, "job-not-found"),
        ("GET", "/jobs/abcdefghijkl", 404, "job-not-found"),
        ("GET", "/jobs/" + "a" * 4000, 404, "job-not-found"),
        ("GET", "/jobs/%00", 404, "job-not-found"),
        ("GET", "/jobs/..%2F..%2Fetc", 404, "job-not-found"),
        ("GET", "/jobs/abcdefghijkl/logs", 404, "job-not-found"),
        ("GET", "/jobs/abcdefghijkl/artifacts/x", 404, "job-not-found"),
        ("POST", "/jobs/abcdefghijkl/cancel", 404, "job-not-found"),
    ],
)
async def test_an_unknown_route_or_method_is_a_problem(
    alice: Client, method: str, path: str, status: int, problem: str
) -> None:
    answer = await alice(method, path)
    assert (answer.status, answer.problem) == (status, problem)
    if status == 405:
        assert "GET" in answer.headers["Allow"]


async def test_the_answer_to_a_look_alike_name_is_plain_ascii(alice: Client) -> None:
    answer = await alice.post("/jobs", body("\u0455ucceed.py"))
    assert json.loads(answer.body)["detail"].isascii()


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "Application/JSON", "application/json ; charset=utf-8", "application/json;((("],
)
async def test_parameters_of_the_media_type_do_not_matter(alice: Client, media_type: str) -> None:
    answer = await alice.post("/jobs", body(), **{"Content-Type": media_type})
    assert answer.status == 202


@pytest.mark.parametrize("media_type", ["a/b" + ";" * 7900, "a/b;" + "(" * 900, '"' * 8000, "x" * 8000])
async def test_a_media_type_of_any_kind_is_refused_with_its_beginning(
    served: Served, alice: Client, media_type: str
) -> None:
    answer = await alice.post("/jobs", body(), **{"Content-Type": media_type})
    await refused(served, answer, 415, "unsupported-media-type")
    assert len(answer.body) < 500


@pytest.mark.parametrize(
    "members",
    [
        {"hyperparameters": {f"p{number}": "1" for number in range(201)}},
        {f"unknown{number}": 1 for number in range(201)},
        {"retry_on": ["exit-code"] * 201},
        {"labels": {f"a{number}": "1" for number in range(5_000)}},
    ],
    ids=["hyperparameters", "unknown", "list", "labels"],
)
async def test_a_body_with_more_members_than_any_field_takes_is_refused_at_once(
    served: Served, alice: Client, members: dict[str, Any]
) -> None:
    answer = await alice.post("/jobs", body(**members))
    await refused(served, answer, 400, "invalid-json")
    assert "none may have more than 200" in answer.json["detail"]


async def test_a_client_that_prefers_no_403_is_refused_with_400(alice: Client) -> None:
    usual = await alice.post("/jobs", body(priority=1))
    assert (usual.status, usual.problem) == (403, "forbidden")
    preferred = await alice.post("/jobs", body(priority=1), Prefer="no-403")
    assert (preferred.status, preferred.problem, preferred.json["status"]) == (400, "forbidden", 400)
    assert preferred.headers["Preference-Applied"] == "no-403"
    assert (await alice.post("/jobs", body(priority=11), Prefer="no-403")).status == 422
