"""Draws a bar on stderr without a line feed, and prints to stdout meanwhile."""

import sys
import time

for step in range(3):
    sys.stderr.write(f"\rfitting {step * 33}%|###   |")
    sys.stderr.flush()
    print(f'::metric {{"name": "loss", "value": {round(1 - step * 0.3, 1)}, "step": {step}}}')
    print(f'::progress {{"done": {step + 1}, "total": 3}}')
    print(f"epoch {step} done")
    time.sleep(0.3)
sys.stderr.write("\n")
