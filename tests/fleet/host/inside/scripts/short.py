# /// ml-job
# description = "Prints twenty lines at once"
#
# [limits]
# memory_bytes = 67108864
# cpus = 0.25
# run_time_seconds = 300
# ///
"""Prints twenty lines at once."""

from _steps import run

run(lines=20, nap=0, status=0)
