"""How much of what could be tried is tried: a part in the usual run, everything for `make security`."""

import os

FULL = os.environ.get("SECURITY_TESTS") == "full"
CASES = 10_000 if FULL else 150  # of a property
SLICES = 1 if FULL else 20  # of the corpus, of which each place gets one
