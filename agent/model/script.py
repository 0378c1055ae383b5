"""Scripts of the repository and the parameters that they declare."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field

from .base import Model, NetworkName, SecretName, Text
from .inputs import Limits, ParameterName


def _relative(path: str) -> str:
    if not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise ValueError("must be a file's path in /artifacts, such as model.joblib or plots/roc.png")
    return path


# The path of a file in /artifacts, as the script writes it.
ArtifactPath = Annotated[Text, AfterValidator(_relative), Field(max_length=255)]


class ParameterType(StrEnum):
    """How a script reads a hyperparameter. Requests carry every value as a string."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"


class Parameter(Model):
    """A hyperparameter as the script declares it. The audit does not record a `sensitive` value."""

    name: ParameterName
    type: ParameterType = ParameterType.STRING
    description: str = ""
    default: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: list[str] = []
    required: bool = False
    sensitive: bool = False


class Script(Model):
    """A script that can be run, as its file and the `# /// ml-job` block at its top say.

    Its job fails if it leaves no file at one of the paths in `artifacts`. A script without a block takes any
    parameters, gets no secrets, and has the site's default limits and network.
    """

    script_name: str
    description: str = ""
    sha256: str
    parameters: list[Parameter] = []
    any_parameters: bool = False
    secrets: list[SecretName] = []
    network: NetworkName = "none"
    limits: Limits = Limits()
    artifacts: list[ArtifactPath] = []


class LeftOut(Model):
    """What a list leaves out, such as a link or a submodule, and why: `reason` follows "it"."""

    path: str
    reason: str


class ScriptList(Model):
    """The scripts that can be run at `commit`, and what is left out: the first of `left_out_count` paths."""

    commit: str
    scripts: list[Script]
    left_out: list[LeftOut] = []
    left_out_count: int = 0
