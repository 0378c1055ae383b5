"""What the tests of the Python client start from."""

from tests.support.job_fixtures import agent, home, host_keys

__all__ = ["agent", "home", "host_keys"]
