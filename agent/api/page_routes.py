"""The table of the calls that a browser makes for the page of the API."""

from ..errors import Problem
from .calls import page
from .route import BYTES, HTML, Header, Route

_IF_NONE_MATCH = (Header("If-None-Match"),)
_DIGEST = (Header("ETag", '^"[0-9a-f]{64}"$'),)

PAGE_ROUTES = (
    Route(
        "GET",
        "/docs",
        page.get_docs,
        (HTML,),
        also=(304,),
        request_headers=_IF_NONE_MATCH,
        response_headers=_DIGEST,
    ),
    Route(
        "GET",
        "/docs/{asset}",
        page.get_docs_asset,
        (BYTES,),
        also=(304,),
        request_headers=_IF_NONE_MATCH,
        response_headers=_DIGEST,
        refuses=(Problem.NO_SUCH_ROUTE,),
    ),
)
