# /// ml-job
# artifacts = ["model.bin"]
# ///
"""Leaves a link where it declares a file."""

import os

os.symlink("/scripts/_common.py", "/artifacts/model.bin")
