"""An analyst trains a model, fetches it, and finds that it scores as its metrics say."""

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from agent.config_files import load

from .conftest import Client, run, wait_for

# Scores once more, by hand, what the job has scored, and says how many rows differ.
COMPARE = """
import json, joblib, pandas
scores = pandas.read_parquet("/artifacts/scores.parquet").set_index("CUSTOMER_ID")
holdout = pandas.read_parquet("/artifacts/holdout.parquet").set_index("CUSTOMER_ID")
model = joblib.load("/artifacts/churn_model.joblib")
by_hand = pandas.Series(model.predict_proba(holdout)[:, 1], index=holdout.index)
job = scores.loc[by_hand.index]
print(json.dumps({
    "columns": list(scores.columns),
    "rows": len(scores),
    "compared": len(by_hand),
    "apart": int((job["PROBABILITY"] != by_hand).sum()),
    "misjudged": int((job["LEAVES"] != (by_hand >= 0.25)).sum()),
}))
"""

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


def scores(directory: Path, program: str = SCORE) -> dict[str, Any]:
    """Scores the fetched model on the fetched holdout, in the image that trained it."""
    container = run(
        *("podman", "run", "--rm", "--network", "none", "--userns", "keep-id:uid=1000,gid=1000"),
        *("--volume", f"{directory}:/artifacts:ro", "--entrypoint", "python3"),
        *(load().jobs.image, "-c", program),
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


def test_a_model_that_waited_for_its_training_scores_every_customer(alice: Client, tmp_path: Path) -> None:
    train = alice.submit("train_churn_model.py", n_estimators="20")["job_id"]
    waits = ("--after", train, "--input", f"model={train}:churn_model.joblib")
    scored = alice.ml_job("submit", "score_customers.py", "-p", "threshold=0.25", *waits, "--follow")
    assert scored.returncode == 0, scored.stderr
    newest = json.loads(alice.ml_job("list", "--json", "--limit", "1").stdout)[0]
    for job_id in (train, newest["job_id"]):
        fetched = alice.ml_job("artifacts", "get", job_id, "--output", str(tmp_path), "--force")
        assert fetched.returncode == 0, fetched.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    digest = hashlib.sha256((tmp_path / "churn_model.joblib").read_bytes()).hexdigest()
    assert newest["inputs"]["model"]["sha256"] == summary["model_sha256"] == digest
    compared = scores(tmp_path, COMPARE)
    assert compared == {
        "columns": ["PROBABILITY", "LEAVES"],
        "rows": 10_000,
        "compared": 2500,
        "apart": 0,
        "misjudged": 0,
    }
    assert summary["rows"] == 10_000
    assert 0 < summary["leaving"] < 10_000


def test_scoring_without_a_model_ends_with_a_line_that_says_how(alice: Client) -> None:
    failed = alice.ml_job("submit", "score_customers.py", "--follow")
    assert failed.returncode == 2
    assert "submit with --input model=JOB:churn_model.joblib" in failed.stdout


def test_a_sweep_of_boosted_trees_reports_steps_that_a_pruner_can_compare(alice: Client) -> None:
    body = {
        "script_name": "boost_churn_model.py",
        "hyperparameters": {"rounds": "12"},
        "space": {"learning_rate": {"values": ["0.001", "0.3"]}},
        "strategy": "grid",
        "objective": {"metric": "log_loss", "direction": "minimize"},
    }
    status, sweep = alice.call("/sweeps", "--json", json.dumps(body))
    assert status == 202, sweep
    path = f"/sweeps/{sweep['sweep_id']}"
    ended = wait_for(
        lambda: alice.call(path)[1] if alice.call(path)[1]["status"] == "COMPLETED" else None, path
    )
    assert ended["completed"] == 2
    assert ended["best"]["hyperparameters"] == {"learning_rate": "0.3"}
    steps = []
    for trial in alice.call(f"{path}/trials")[1]["trials"]:
        series = alice.call(f"/jobs/{trial['job_id']}/metrics")[1]["series"]
        points = next(each["points"] for each in series if each["name"] == "log_loss")
        steps.append([point["step"] for point in points])
        assert points[-1]["value"] == trial["value"]
    assert steps[0] == steps[1] == list(range(1, 13))
