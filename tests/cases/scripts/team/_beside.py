"""Beside a script."""
