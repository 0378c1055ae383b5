"""A browser that has the user's certificate does not act for pages of other sites."""

import json
from itertools import product
from typing import Any

import pytest

from agent.api.access import TABLE, Audited
from agent.api.route import Route
from agent.api.routes import ROUTES
from tests.support.api_client import Answer, Client
from tests.support.api_fixtures import over_any_backend
from tests.support.every_call import filled
from tests.support.served import AnyServed

JSON = {"Content-Type": "application/json"}
CHANGES = [route for route in ROUTES if route.method != "GET"]
FOREIGN = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://localhost"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "none, cross-site"},
    {"Sec-Fetch-Site": "a kind of a later browser"},
)
# What a form, or a script without a preflight, can send (Fetch, section 2.2.2); and nothing at all.
OF_A_FORM = (
    None,
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "text/plain",
    "Text/Plain; charset=application/json",
    "text/plain;application/json",
    "",
)


async def ask(client: Client, route: Route, job_id: str, headers: dict[str, str]) -> Answer:
    """A request that would be answered with success, or with the client's own mistake in the body."""
    path = filled(route.path, job_id)
    # What is left out is not filled in by the client's library.
    async with client.session.request(
        route.method,
        client.base + path,
        data=b"" if route.method == "GET" else b"{}",
        headers=headers,
        skip_auto_headers=["Content-Type"],
    ) as response:
        return Answer(response.status, dict(response.headers), await response.read())


@over_any_backend
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation_id)
async def test_no_call_is_answered_for_a_page_of_another_site(
    served: AnyServed, alice: Client, route: Route
) -> None:
    job = await alice.submit()
    for headers in FOREIGN:
        answer = await ask(alice, route, job["job_id"], headers | JSON)
        assert (answer.status, answer.problem) == (403, "foreign-origin"), headers
    if not TABLE[route.operation_id].anybody:
        refused = [row for row in await served.audited("alice") if row["result"] == "refused"]
        assert {row["action"] for row in refused} == {route.operation_id}
        assert {row["details"]["problem"] for row in refused} == {"foreign-origin"}
    assert (await alice.get(f"/jobs/{job['job_id']}")).json == job


@over_any_backend
@pytest.mark.parametrize("route", CHANGES, ids=lambda route: route.operation_id)
async def test_no_form_changes_anything(served: AnyServed, alice: Client, route: Route) -> None:
    job = await alice.submit()
    for media_type in OF_A_FORM:
        headers = {} if media_type is None else {"Content-Type": media_type}
        answer = await ask(alice, route, job["job_id"], headers)
        assert (answer.status, answer.problem) == (415, "unsupported-media-type"), media_type
        assert "application/json" in answer.json["hint"] or route.operation_id == "setSecret"
    assert (await alice.get(f"/jobs/{job['job_id']}")).json == job
    assert len((await alice.get("/jobs")).json["jobs"]) == 1


def test_every_call_that_changes_something_is_one_that_needs_a_media_type() -> None:
    for route in ROUTES:
        # A preview is asked for in a body, and changes nothing.
        changes = route.method != "GET" and route.operation_id != "previewSchedule"
        assert (TABLE[route.operation_id].audited is Audited.DEED) == changes
        assert (route.body is not None) == (route.method != "GET")


@over_any_backend
async def test_pages_of_this_host_programs_and_typed_addresses_are_answered(
    served: AnyServed, alice: Client
) -> None:
    job_id = (await alice.submit())["job_id"]
    own: tuple[dict[str, str], ...] = ({}, {"Origin": served.base}, {"Origin": served.base.upper()})
    typed: tuple[dict[str, str], ...] = ({}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"})
    for origin, site in product(own, typed):
        for route in ROUTES:
            if route.operation_id in ("getJob", "cancelJob", "listJobs"):
                answer = await ask(alice, route, job_id, origin | site | JSON)
                assert answer.status == route.status, (origin, site)


@over_any_backend
@pytest.mark.parametrize("body", [b"", b"{}", b" {} "])
async def test_a_call_without_parameters_takes_an_empty_object_or_nothing(alice: Client, body: bytes) -> None:
    job_id = (await alice.submit())["job_id"]
    assert (await alice("PUT", f"/jobs/{job_id}/pin", data=body, headers=JSON)).status == 200
    assert (await alice("DELETE", f"/jobs/{job_id}/pin", data=body, headers=JSON)).status == 200
    assert (await alice.post(f"/jobs/{job_id}/cancel", body)).status == 202


@over_any_backend
@pytest.mark.parametrize(
    ("body", "status"), [({"reason": "x"}, 422), ([], 400), ("", 400)], ids=["member", "list", "text"]
)
async def test_what_such_a_call_is_sent_besides_is_refused(alice: Client, body: Any, status: int) -> None:
    job = await alice.submit()
    answer = await alice.post(f"/jobs/{job['job_id']}/cancel", json.dumps(body).encode())
    assert answer.status == status
    assert (await alice.get(f"/jobs/{job['job_id']}")).json == job


@over_any_backend
async def test_no_preflight_is_allowed_and_no_answer_is_shared(alice: Client) -> None:
    job_id = (await alice.submit())["job_id"]
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for route in ROUTES:
        path = filled(route.path, job_id)
        answer = await alice(
            "OPTIONS", path, headers=asked | {"Access-Control-Request-Headers": "content-type"}
        )
        assert answer.status == 405, path
        refused = await ask(alice, route, job_id, asked | JSON)
        for headers in (answer.headers, refused.headers):
            assert not [name for name in headers if name.lower().startswith("access-control-")]
