"""`ml-job` itself: its version."""

import pytest

from agent import __version__
from tests.support.ml_job import ml_job


@pytest.mark.parametrize("form", ["version", "--version"])
def test_both_forms_print_the_version(form: str) -> None:
    assert ml_job(form).stdout == f"ml-job {__version__}\n"
