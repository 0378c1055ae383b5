# /// ml-job
# description = "Prints a line each tenth of a second, for a minute"
#
# [limits]
# memory_bytes = 67108864
# cpus = 0.25
# run_time_seconds = 300
# ///
"""Prints a line each tenth of a second, for a minute."""

from _steps import run

run(lines=600, nap=0.1, status=0)
