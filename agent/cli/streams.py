"""The standard streams, made usable whatever the terminal, the locale and the caller's descriptors are."""

import os
import sys

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


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


def give_up_stdout() -> None:
    """Discards what stdout holds and cannot take: Python flushes it at exit, which must not fail again."""
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
