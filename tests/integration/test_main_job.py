"""An analyst trains a model, fetches it, and finds that it scores as its metrics say."""

import json
import subprocess
from pathlib import Path

from agent.config_files import load

from .conftest import Client, run

SCORE = """
import json, joblib, pandas
model = joblib.load("/artifacts/churn_model.joblib")
metrics = json.load(open("/artifacts/metrics.json"))
holdout = pandas.read_parquet("/artifacts/holdout.parquet")
accuracy = model.score(holdout[metrics["features"]], holdout[metrics["holdout"]["target"]])
print(json.dumps({"accuracy": accuracy}))
"""


def test_a_followed_training_ends_with_the_jobs_status_and_a_model_that_scores_as_it_says(
    alice: Client, tmp_path: Path
) -> None:
    trained = alice.ml_job("submit", "train_churn_model.py", "-p", "n_estimators=50", "--follow")
    assert trained.returncode == 0, trained.stderr
    newest = json.loads(alice.ml_job("list", "--json", "--limit", "1").stdout)[0]
    assert newest["status"] == "COMPLETED"

    fetched = alice.ml_job("artifacts", "get", newest["job_id"], "--output", str(tmp_path))
    assert fetched.returncode == 0, fetched.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert (tmp_path / "churn_model.png").read_bytes().startswith(b"\x89PNG")
    assert scores(tmp_path)["accuracy"] == metrics["accuracy"]
    assert 0.7 < metrics["accuracy"] < 1


def scores(directory: Path) -> dict[str, float]:
    """Scores the fetched model on the fetched holdout, in the image that trained it."""
    container = run(
        *("podman", "run", "--rm", "--network", "none", "--userns", "keep-id:uid=1000,gid=1000"),
        *("--volume", f"{directory}:/artifacts:ro", "--entrypoint", "python3"),
        *(load().jobs.image, "-c", SCORE),
    )
    assert container.returncode == 0, container.stderr
    return dict(json.loads(container.stdout))


def test_a_failed_script_makes_the_command_fail_with_its_status(alice: Client) -> None:
    failed = alice.ml_job("submit", "hello.py", "-p", "status=7", "--follow")
    assert failed.returncode == 7
    assert "Hello, world! (3 of 3)" in failed.stdout


def test_the_regression_trains_too(alice: Client) -> None:
    trained: subprocess.CompletedProcess[str] = alice.ml_job("submit", "train_lifetime_value.py", "--follow")
    assert trained.returncode == 0, trained.stderr
