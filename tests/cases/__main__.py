"""Makes the cases one after the other and prints each look; the exit status is the number of wrong ones.

    python -m tests.cases [--quick] [--only CASE]...

Runs as root inside the disposable host (`make cases`), and becomes the service account at once.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping

from tests.faults.privilege import become

from . import artifacts, command_line, endings, journal, logs, repositories
from .look import Look
from .place import Place

ACCOUNT = "ml"
MAX_STATUS = 125  # above are statuses of shells and signals
Case = Callable[[Place], Iterator[Look]]

QUICK: dict[str, Case] = {
    "a bar on stderr": logs.bar_on_stderr,
    "bytes through a pipe": logs.bytes_through_a_pipe,
    "imports from a subdirectory": repositories.imports,
    "what is left out": repositories.left_out,
    "no directory of scripts": repositories.no_directory,
}
CASES: dict[str, Case] = QUICK | {
    "names of branches and tags": repositories.names_of_refs,
    "the command line": command_line.as_people_write,
    "files of odd names": artifacts.odd_names,
    "no false gap": logs.no_false_gap,
    "an object is missing": repositories.missing_objects,
    "a killed unit": endings.killed_unit,
    "containers.conf": endings.containers_conf,
    "the runtime directory is full": endings.runtime_directory_full,
    "settings of journald": journal.settings,
    "a message of one line": command_line.lost_secret,
    "SNOWFLAKE_HOME": command_line.snowflake_home,
}


def make(place: Place, cases: Mapping[str, Case]) -> list[Look]:
    """Makes each case and prints its looks as they come. A case that cannot be made is a wrong look."""
    looks: list[Look] = []
    for name, case in cases.items():
        began = time.monotonic()
        for look in _looks(case, place):
            print(*look.lines(name), sep="\n", flush=True)
            looks.append(look)
        print(f"cases: {name} took {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return looks


def _looks(case: Case, place: Place) -> Iterator[Look]:
    looked = False
    try:
        for look in case(place):
            looked = True
            yield look
    except Exception as error:
        yield Look("the case itself", f"{type(error).__name__}: {error}", "can be made", good=False)
    else:
        if not looked:
            yield Look("the case itself", "nothing was looked at", "something is", good=False)


def report(looks: list[Look]) -> int:
    """Prints the total; the exit status."""
    wrong = sum(not look.good for look in looks)
    print(f"{len(looks)} looks, {wrong} wrong" if wrong else f"{len(looks)} looks, all right")
    return min(wrong, MAX_STATUS)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="cases", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only some cases, which take half a minute")
    parser.add_argument("--only", metavar="CASE", action="append", choices=CASES, help="only these cases")
    options = parser.parse_args()
    chosen = QUICK if options.quick else CASES
    if options.only:
        chosen = {name: CASES[name] for name in options.only}
    place = Place(become(ACCOUNT))
    with place.made():
        return report(make(place, chosen))


if __name__ == "__main__":
    sys.exit(main())
