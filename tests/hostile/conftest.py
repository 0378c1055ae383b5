"""The same agents and clients as in the tests of the API, and a client that sends bytes as they are."""

import ssl
from collections.abc import AsyncIterator

import pytest
from api.conftest import (  # noqa: F401
    Client,
    Served,
    alice,
    authorities,
    document,
    repository,
    serve,
    served,
)

from .wire import Wire


@pytest.fixture
async def wire(served: Served, alice: Client) -> AsyncIterator[Wire]:  # noqa: F811
    """Alice's own connection."""
    files = served.journal_file.parent
    context = ssl.create_default_context(cafile=served.authorities.directory / "ca.crt")
    context.load_cert_chain(files / "client.crt", files / "client.key")
    made = Wire(int(served.base.rpartition(":")[2]), context)
    yield made
    await made.close()
