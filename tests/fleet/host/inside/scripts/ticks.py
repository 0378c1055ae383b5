# /// ml-job
# description = "Prints the time twice a second"
#
# [limits]
# memory_bytes = 67108864
# cpus = 0.25
# run_time_seconds = 300
#
# [[parameters]]
# name = "seconds"
# type = "integer"
# default = "10"
# minimum = 1
# maximum = 300
# ///
"""Prints the time in seconds since 1970, twice a second: who reads it knows how long that took."""

import time

from _common import hyperparameters

for _ in range(2 * hyperparameters(__file__)["seconds"]):
    print(time.time(), flush=True)
    time.sleep(0.5)
