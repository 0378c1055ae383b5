"""Shared by scripts."""
