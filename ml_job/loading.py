"""Models from files. What reads them must be installed here, in the version that wrote them."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import ClientError

SAFE = ".skops"


def load(place: Path, trusted: Sequence[str]) -> Any:
    """What a skops file has. It makes nothing but types that skops knows, and those in `trusted`.

    Raises `ClientError` for another kind of file, and what skops raises for other types.
    """
    if place.suffix != SAFE:
        raise ClientError(
            f"{place.name} is not a {SAFE} file: to load a pickle or a joblib file is to run the code in it.",
            "Where you trust whoever wrote it, use load_pickle.",
        )
    return _library("skops.io").load(place, trusted=list(trusted))


def load_pickle(place: Path) -> Any:
    """What a pickle, or a file of joblib, has. This runs the code in it."""
    return _library("joblib").load(place)


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        package = name.partition(".")[0]
        raise ClientError(f"{package} is not installed here.", f"pip install {package}") from error
