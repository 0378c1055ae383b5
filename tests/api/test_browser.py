"""The page of the API in a real browser that has a client certificate."""

import json
from pathlib import Path

import pytest

from agent.host.files import write_file
from tests.support import browser
from tests.support.api_fixtures import over_any_backend
from tests.support.served import AnyServed
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(not browser.is_installed(), reason=browser.MISSING)
SHOWN = "document.querySelectorAll('.opblock').length"
FRONT_PAGE = ("/docs", "/docs/swagger-ui.css", "/docs/swagger-ui-bundle.js", "/docs/page.js", "/openapi.json")


@over_any_backend
async def test_every_call_is_shown_without_a_complaint_and_without_another_host(
    served: AnyServed, tmp_path: Path
) -> None:
    issued = await served.issue("alice")
    write_file(tmp_path / "alice.p12", issued.pkcs12("alice", "password"), mode=0o600)
    operations = [name for calls in served.document.content["paths"].values() for name in calls]
    home, authority = tmp_path / "home", served.authorities.directory / "ca.crt"
    async with browser.browsing(home, authority, tmp_path / "alice.p12") as page:
        await page.open(f"{served.base}/docs")

        async def all_shown() -> bool:
            return bool(await page.value(SHOWN) == len(operations))

        await until(all_shown, seconds=90)
        text = await page.value("document.body.innerText")
        assert all(path in text.replace("\u200b", "") for path in served.document.content["paths"])
        # An operation unfolds, with its answers; nothing can be sent from it, and nobody logs in.
        await page.value("document.querySelector('#operations-jobs-getJob .opblock-summary-control').click()")
        await until(
            lambda: page.value("!!document.querySelector('#operations-jobs-getJob .responses-table')")
        )
        assert await page.value("document.querySelectorAll('.try-out, .execute, .authorize').length") == 0
        await page.screenshot(tmp_path / "page.png")
        foreign = [url for url in page.requested if not url.startswith((f"{served.base}/", "data:"))]
        assert (foreign, page.complaints) == ([], [])
        assert {served.base + path for path in FRONT_PAGE} <= set(page.requested)
        # The policy counts: what a page of the host would do against it is refused.
        await page.value("document.body.append(Object.assign(document.createElement('script'), {text: '1'}))")
        await until(lambda: bool(page.complaints))
        assert "Content Security Policy" in json.dumps(page.complaints)


async def test_without_a_certificate_nothing_is_shown(served: AnyServed, tmp_path: Path) -> None:
    home, authority = tmp_path / "home", served.authorities.directory / "ca.crt"
    async with browser.browsing(home, authority, None) as page:
        with pytest.raises(AssertionError, match="ERR_"):
            await page.open(f"{served.base}/docs")
        assert await page.value("document.querySelectorAll('.opblock').length") == 0
