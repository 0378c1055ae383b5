# /// ml-job
# description = "Says the digest of a secret, and holds it for a while"
# secrets = ["canary"]
#
# [limits]
# memory_bytes = 67108864
# cpus = 0.25
# run_time_seconds = 300
# ///
"""Reads a secret, prints its SHA-256 digest, and waits until somebody has looked for the value."""

import hashlib
import os
import time
from pathlib import Path

held = Path("/run/secrets/canary/connections.toml").read_bytes()
print(hashlib.sha256(held).hexdigest(), flush=True)
while not os.path.exists("/artifacts/go"):
    time.sleep(0.1)
