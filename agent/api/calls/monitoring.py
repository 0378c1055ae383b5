"""The call that a monitoring system makes."""

from aiohttp import web

from ...errors import AgentError, Problem
from ...model.monitoring import Live
from ..keys import BACKEND, LAG, STREAMS


async def scrape_metrics(request: web.Request) -> web.Response:
    """Gives the agent's numbers in the text format of Prometheus or of OpenMetrics.

    The connection ends with the answer: a scraper's open connection would keep an idle agent running.
    """
    if (monitoring := request.app[BACKEND].monitoring) is None:
        raise AgentError(Problem.NO_SUCH_ROUTE, "A front has no metrics.", "Scrape the hosts of the fleet.")
    live = Live(request.app[STREAMS].open_now, request.app[LAG].longest)
    text, content_type = await monitoring.exposition(request.headers.get("Accept", ""), live)
    response = web.Response(body=text, headers={"Content-Type": content_type})
    response.force_close()
    return response
