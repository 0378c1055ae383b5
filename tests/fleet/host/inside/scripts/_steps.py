"""What the bed's scripts do.

Each prints a nonce and appends it to an artifact: two nonces there are two invocations of one attempt.
"""

import sys
import time
import uuid


def run(*, lines: int, nap: float, status: int) -> None:
    """Leaves a nonce, prints numbers from 1 to `lines`, `nap` seconds apart, and exits with a status."""
    nonce = uuid.uuid4()
    with open("/artifacts/nonce", "a") as file:
        file.write(f"{nonce}\n")
    print(f"nonce {nonce}")
    for number in range(1, lines + 1):
        print(number, flush=True)
        time.sleep(nap)
    sys.exit(status)
