"""The call that reads the ledger of what users have used."""

from typing import Annotated

from aiohttp import web
from pydantic import Field

from ...errors import AgentError, Problem
from ...model.base import Model, UserName, now
from ...model.usage import FORM, UsageKey, period
from ..access import check_owner
from ..keys import BACKEND
from ..server.accept import preferred
from ..server.requests import JSON, json_response, read_query

CSV = "text/csv"

Day = Annotated[str, Field(pattern=FORM, max_length=10)]


class UsageQuery(Model):
    """The query of `GET /usage`: days in UTC, the first one and the first one that is left out."""

    since: Day | None = Field(default=None, alias="from")
    until: Day | None = Field(default=None, alias="to")
    by: UsageKey = UsageKey.USER
    owner: UserName | None = None


async def list_usage(request: web.Request) -> web.Response:
    """Shows what users have used of the host, month by month: by user, script or label, as JSON or CSV."""
    query, form = read_query(request, UsageQuery), preferred(request, (JSON, CSV))
    if form is None:
        raise AgentError(
            Problem.NOT_ACCEPTABLE, f"Usage can be {JSON} or {CSV}.", f"Send Accept: {CSV} for a table."
        )
    owner = check_owner(request, query.owner)
    if (usage := request.app[BACKEND].usage) is None:
        raise AgentError(
            Problem.NO_SUCH_ROUTE,
            "A front has no ledger.",
            "Ask the hosts of the fleet, and add up their answers.",
        )
    asked = period(query.since, query.until, now().date())
    report = await usage.report(asked, by=query.by, owner=owner)
    if form == JSON:
        return json_response(report)
    pieces = [piece async for piece in usage.csv(report)]
    return web.Response(body=b"".join(pieces), content_type=CSV, charset="utf-8")
