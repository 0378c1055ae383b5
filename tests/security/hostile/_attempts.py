"""What the parts of `escape.py` have in common: targets, and the list of attempts."""

import json
import os

TARGETS = json.loads(os.environ["HP_TARGETS"])
ATTEMPTS = []


def attempt(what, *arguments):
    def register(function):
        ATTEMPTS.append((what, function, arguments))
        return function

    return register


def each(what, values):
    def register(function):
        for value in values:
            ATTEMPTS.append((what.format(value), function, (value,)))
        return function

    return register


def read(path):
    with open(path, "rb") as file:
        data = file.read(64)
    return f"read {len(data)} bytes of {path}" if data else None
