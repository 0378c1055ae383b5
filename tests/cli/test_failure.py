"""What a person is told about errors of files."""

import errno

import pytest

from agent.cli import failure


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "A file cannot be used: No space left on device.",
        ),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
            "a and b cannot be used: Invalid",
        ),
    ],
)
def test_an_error_of_a_file_is_a_failure_that_names_it(error: OSError, told: str) -> None:
    assert told in str(failure.of_file(error))


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "Bad file descriptor"), TimeoutError()])
def test_an_error_that_names_no_file_is_a_bug(error: OSError) -> None:
    assert failure.of_file(error) is None
