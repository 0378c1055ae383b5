"""What both programs do when they begin and end: options, usable standard streams, and files that are not."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from .. import __version__
from .failure import EXIT_CONFIGURATION, Failure, of_file
from .terminal import Screen

HOST_LIBRARIES = ("dbus_fast", "pydantic_settings")  # of the extra `host`
_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def print_version(context: typer.Context) -> None:
    """Print the version."""
    typer.echo(f"{context.find_root().command.name} {__version__}")
    raise typer.Exit


def _print_if_wanted(context: typer.Context, wanted: bool) -> None:
    if wanted:
        print_version(context)


JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
VersionOption = Annotated[
    bool, typer.Option("--version", callback=_print_if_wanted, is_eager=True, help="Print the version.")
]


def prepare_streams() -> None:
    """Opens /dev/null for each standard stream that the caller closed, and lets every character be written.

    Python leaves a closed stream None, and the next file that is opened would take its descriptor: its
    content would be mixed with the output. A character that the locale's encoding lacks is escaped.
    """
    for descriptor, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):  # a test's stream may have none
            reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def needs_host() -> Iterator[None]:
    """Ends the program with a sentence where an import inside misses a library that a host has."""
    try:
        yield
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in HOST_LIBRARIES:
            raise
        why = f"This program is for hosts, and was installed without what it needs there: {error.name}."
        Screen().failure(
            Failure(why, "Install the package with its extra, ml-agent[host]: requirements.txt.")
        )
        sys.exit(EXIT_CONFIGURATION)


def give_up_stdout() -> None:
    """Discards what stdout holds and cannot take: Python flushes it at exit, which must not fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def report_file(error: OSError) -> Failure:
    """Prints what a person is told about an unusable file. Raises any other error again, which is a bug."""
    if (failure := of_file(error)) is None:
        raise error
    give_up_stdout()
    Screen().failure(failure)
    return failure
