"""Lets a script wait for its start when its Python is up: ml_start.pth imports this before any script.

The launcher says in the environment which file is waited for; the script does not see that any more.
"""

import os
import time

PAUSE = 0.001  # seconds between two looks

if path := os.environb.pop(b"ML_STARTS_AFTER", None):
    # systemd ends what waits too long (TimeoutStartSec=).
    while not os.path.exists(path):
        time.sleep(PAUSE)
