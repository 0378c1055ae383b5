# /// ml-job
# description = "Prints five lines and fails"
#
# [limits]
# memory_bytes = 67108864
# cpus = 0.25
# run_time_seconds = 300
# ///
"""Prints five lines and fails."""

from _steps import run

run(lines=5, nap=0, status=3)
