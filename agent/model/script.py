"""Scripts of the repository and the parameters that they declare."""

from enum import StrEnum

from .base import Model, NetworkName, SecretName
from .inputs import Limits, ParameterName


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

    A script without a block takes any parameters, gets no secrets, and has the site's default limits and
    network.
    """

    script_name: str
    description: str = ""
    sha256: str
    parameters: list[Parameter] = []
    any_parameters: bool = False
    secrets: list[SecretName] = []
    network: NetworkName = "none"
    limits: Limits = Limits()


class LeftOut(Model):
    """A file, link or submodule that cannot be run, or is missing from the job's /scripts, and why."""

    path: str
    reason: str


class ScriptList(Model):
    """The scripts that can be run at `commit`, and what is left out: the first of `left_out_count` paths."""

    commit: str
    scripts: list[Script]
    left_out: list[LeftOut] = []
    left_out_count: int = 0
