"""Imports what is above it, and what is beside it."""

import _beside
import _common

print("imported", _common.__name__, _beside.__name__)
