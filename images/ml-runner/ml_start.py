"""Waits until the script may start. ml_start.pth imports this when Python starts, before the script runs.

The launcher names the file to wait for in an environment variable, which is removed before the script runs.
"""

import os
import time

PAUSE = 0.001  # seconds between two looks

if path := os.environb.pop(b"ML_STARTS_AFTER", None):
    # There is no timeout here: systemd has one (TimeoutStartSec=).
    while not os.path.exists(path):
        time.sleep(PAUSE)
