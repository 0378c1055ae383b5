# /// ml-job
# description = "Tries what a job must not be able to do, and says what came of it"
# [[parameters]]
# name = "targets"
# required = true
# ///
"""Runs as a job. Each attempt either raises what stopped it or returns what it got; one JSON line for each.

`HP_TARGETS` has what an attacker may know: paths of the host, ports, names of sockets, other jobs.
"""

import errno
import json
import subprocess

import _calls  # noqa: F401 (each adds its attempts)
import _files  # noqa: F401
import _itself  # noqa: F401
import _networks  # noqa: F401
import _resources  # noqa: F401
from _attempts import ATTEMPTS


def main():
    successes = 0
    for what, function, arguments in ATTEMPTS:
        try:
            got = function(*arguments)
            result, by = ("SUCCEEDED", got) if got else ("stopped", "nothing was there")
        except NotImplementedError as error:
            result, by = "not shown", str(error)
        except (OSError, subprocess.SubprocessError) as error:
            name = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
            by = f"{name} {getattr(error, 'strerror', None) or error}".strip()
            result = "stopped"
        successes += result == "SUCCEEDED"
        print(json.dumps({"attempt": what, "result": result, "by": by}))
    print(json.dumps({"attempts": len(ATTEMPTS), "successes": successes}))


if __name__ == "__main__":
    main()
