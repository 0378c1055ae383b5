"""Servers and clients."""

from tests.support.api_fixtures import (  # noqa: F401
    administrator,
    alice,
    authorities,
    backend,
    bob,
    document,
    operator,
    repository,
    serve,
    served,
)
