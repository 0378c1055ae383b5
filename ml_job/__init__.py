"""A host's agent from Python: jobs, sweeps, metrics, logs, artifacts and models.

    from ml_job import Client

    client = Client()
    job = client.wait_for_job(client.submit_job("train_churn_model.py", {"max_depth": 8}))

`Client` is for notebooks and scripts, `AsyncClient` for programs with an event loop of their own. They read
the configuration and the certificates of the command `ml-job`.
"""

from agent.model.alias import Alias, NamedModel
from agent.model.artifact import Artifact, ArtifactManifest
from agent.model.job import Job, JobState, Reason
from agent.model.log import LogGap, LogLine
from agent.model.metric import JobMetrics, MetricPoint, MetricSeries
from agent.model.sweep import Sweep, SweepState, Trial

from .asynchronous import AsyncClient
from .blocking import Client
from .errors import ClientError
from .options import JobOptions, RerunOptions, SweepOptions

__all__ = [
    "Alias",
    "Artifact",
    "ArtifactManifest",
    "AsyncClient",
    "Client",
    "ClientError",
    "Job",
    "JobMetrics",
    "JobOptions",
    "JobState",
    "LogGap",
    "LogLine",
    "MetricPoint",
    "MetricSeries",
    "NamedModel",
    "Reason",
    "RerunOptions",
    "Sweep",
    "SweepOptions",
    "SweepState",
    "Trial",
]
