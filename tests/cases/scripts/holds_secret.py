# /// ml-job
# secrets = ["api-token"]
# ///
"""Holds a secret for HP_SECONDS."""

import os
import time

print("ready")
time.sleep(float(os.environ.get("HP_SECONDS", "60")))
