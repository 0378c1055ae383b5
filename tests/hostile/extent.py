"""How much of what could be tried is tried: a part in the usual run, everything for `make security`."""

import os

FULL = os.environ.get("SECURITY_TESTS") == "full"
FEW = 150  # cases of a property
CASES = 10_000 if FULL else FEW
SLICES = 1 if FULL else 20  # of the corpus, of which each place gets one
