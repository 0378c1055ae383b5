"""Writes to both streams in turn."""

import sys

for number in range(300):
    print(f"out {number}")
    sys.stderr.write(f"err {number}\n")
