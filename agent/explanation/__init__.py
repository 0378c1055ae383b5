"""Explains a job from its record, its place in the queue, its last lines and what it uses: pure functions."""
