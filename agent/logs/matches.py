"""Which journal entries belong to a unit, as matches for journalctl(1) and sd_journal_add_match(3).

An entry belongs to the unit if it has all fields of one of the groups.
"""

import os

from .entries import JOURNALDS_OWN, SUPPRESSED
from .lines import RUNTIME_COMMANDS


def of_unit(unit: str) -> list[list[str]]:
    """The job's output, and what the user manager and journald say about the unit.

    The output is matched by its identifier. --user-unit= would miss lines: journald learns a line's unit
    from the process that wrote the line, and finds none if the process has ended meanwhile.
    """
    return [
        *of_lines(unit),
        # Only members of systemd-journal can read these two; `ml-agent doctor` checks that.
        [f"MESSAGE_ID={SUPPRESSED.decode()}", f"OBJECT_SYSTEMD_USER_UNIT={unit}", "_UID=0"],
        [*(f"MESSAGE_ID={each.decode()}" for each in JOURNALDS_OWN if each != SUPPRESSED), "_UID=0"],
    ]


def of_lines(unit: str) -> list[list[str]]:
    """The same without what journald says about itself: the lines of the unit's log."""
    mine = f"_UID={os.getuid()}"
    return [[_identifier(unit), mine], [f"USER_UNIT={unit}", mine]]


def of_output(unit: str) -> list[str]:
    """What came over the unit's stdout and stderr."""
    return [_identifier(unit), f"_UID={os.getuid()}", "_TRANSPORT=stdout"]


def of_cut_output(unit: str) -> list[list[str]]:
    """What of that is no whole line of the job's: lines that journald has cut, and those of the runtime."""
    output = of_output(unit)
    runtime = [f"_COMM={name.decode()}" for name in sorted(RUNTIME_COMMANDS)]
    return [[*output, *runtime], [*output, "_LINE_BREAK=line-max"]]


def any_of(*groups: list[str]) -> list[str]:
    """Arguments that make journalctl show the entries of each group."""
    arguments = list(groups[0])
    for group in groups[1:]:
        arguments += ["+", *group]
    return arguments


def _identifier(unit: str) -> str:
    return f"SYSLOG_IDENTIFIER={unit.removesuffix('.service')}"
