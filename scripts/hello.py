# /// ml-job
# description = "Says hello, to try out how a job is submitted, watched and cancelled"
#
# [limits]
# memory_bytes = 134217728
# cpus = 1
# tasks = 16
# run_time_seconds = 3600
#
# [[parameters]]
# name = "name"
# description = "Whom to greet"
# default = "world"
#
# [[parameters]]
# name = "lines"
# type = "integer"
# description = "Lines to print"
# default = "3"
# minimum = 0
# maximum = 1000000
#
# [[parameters]]
# name = "sleep"
# type = "number"
# description = "Seconds to wait after each line"
# default = "0"
# minimum = 0
# maximum = 3600
#
# [[parameters]]
# name = "status"
# type = "integer"
# description = "Exit status"
# default = "0"
# minimum = 0
# maximum = 255
# ///
"""Prints some lines, writes /artifacts/hello.txt and exits with the given status."""

import sys
import time

from _common import ARTIFACTS, hyperparameters, stop_on_sigterm

stop_on_sigterm()
chosen = hyperparameters(__file__)
greeting = f"Hello, {chosen['name']}!"

for number in range(1, chosen["lines"] + 1):
    print(f"{greeting} ({number} of {chosen['lines']})")
    time.sleep(chosen["sleep"])

(ARTIFACTS / "hello.txt").write_text(greeting + "\n")
sys.exit(chosen["status"])
