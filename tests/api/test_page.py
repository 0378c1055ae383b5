"""The OpenAPI document as a page: its files, and how they are served."""

import hashlib
import re
from pathlib import Path

import pytest

from agent.api.calls.page import ASSETS, DIRECTORY, POLICY
from tests.support.api_client import Client
from tests.support.api_fixtures import over_any_backend

OWN = {"index.html", "page.js", "files.sha256", "package.sha512"}


def test_files_of_the_package_are_the_locked_ones() -> None:
    locked = [line.split() for line in (DIRECTORY / "files.sha256").read_text("ascii").splitlines()]
    found = [[hashlib.sha256((DIRECTORY / name).read_bytes()).hexdigest(), name] for _, name in locked]
    assert found == locked
    assert {name for _, name in locked} | OWN == {path.name for path in DIRECTORY.iterdir()}
    assert {"LICENSE", "NOTICE"} <= {name for _, name in locked}


def test_the_page_names_files_of_this_host_alone() -> None:
    page = (DIRECTORY / "index.html").read_text("utf-8")
    assert {name.removeprefix("/docs/") for name in re.findall('(?:src|href)="(.*?)"', page)} == ASSETS.keys()
    assert not re.search(r"<script(?! src=)|<style| style=| on\w+=", page)


@over_any_backend
@pytest.mark.parametrize("path", ["/docs", *(f"/docs/{name}" for name in ASSETS)])
async def test_each_file_is_served_whole_and_once(alice: Client, path: str) -> None:
    answer = await alice.get(path)
    name = Path(path).name if path != "/docs" else "index.html"
    assert (answer.status, answer.body) == (200, (DIRECTORY / name).read_bytes())
    assert answer.headers["Content-Security-Policy"] == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    again = await alice.get(path, **{"If-None-Match": answer.headers["Etag"]})
    assert (again.status, again.body) == (304, b"")
    other = await alice.get(path, **{"If-None-Match": '"another"'})
    assert (other.status, other.headers["Etag"]) == (200, answer.headers["Etag"])


@pytest.mark.parametrize(
    "name", ["index.html", "LICENSE", "..%2Fopenapi.py", "%2Fetc%2Fpasswd", "page.js%00"]
)
async def test_no_other_file_is_served(alice: Client, name: str) -> None:
    answer = await alice.get(f"/docs/{name}")
    assert answer.status in (400, 404)
