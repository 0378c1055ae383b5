"""Leaves something that is its own."""

from pathlib import Path

Path("/artifacts/private.txt").write_text("another job's result")
