# /// ml-job
# description = "Scores every customer of TRAINING_DATA_VIEW with a churn model, its input"
# secrets = ["snowflake"]
# network = "warehouse"
# artifacts = ["scores.parquet", "summary.json"]
#
# [limits]
# memory_bytes = 2147483648
# cpus = 1
# tasks = 256
# run_time_seconds = 1800
#
# [[parameters]]
# name = "threshold"
# type = "number"
# description = "Probability from which a customer counts as leaving"
# default = "0.5"
# minimum = 0
# maximum = 1
#
# [[parameters]]
# name = "batch_rows"
# type = "integer"
# description = "Customers that are scored at once"
# default = "2000"
# minimum = 1
# maximum = 1000000
# ///
"""Scores the customers of TRAINING_DATA_VIEW with the model that a training of churn has left.

    ml-job submit score_customers.py --input model=JOB:churn_model.joblib

Writes to /artifacts: scores.parquet (CUSTOMER_ID, PROBABILITY of leaving, LEAVES) and summary.json.
"""

import hashlib
import warnings
from pathlib import Path

import joblib
import pandas as pd
from _churn import KEY, MODEL, read_customers
from _common import (
    ARTIFACTS,
    hyperparameters,
    input_file,
    metric,
    progress,
    stop_on_sigterm,
    write_json,
)
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import Pipeline

SCORES = "scores.parquet"


def load(path: Path) -> Pipeline:
    """The model. One of another version of scikit-learn could score otherwise, so it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", InconsistentVersionWarning)
        return joblib.load(path)


def score(model: Pipeline, customers: pd.DataFrame, rows: int) -> pd.Series:
    """The probability of leaving of each customer, some at a time."""
    parts = []
    for start in range(0, len(customers), rows):
        part = customers.iloc[start : start + rows]
        parts.append(pd.Series(model.predict_proba(part)[:, 1], index=part.index))
        done = start + len(part)
        print(f"Scored {done:,} of {len(customers):,} customers")
        progress(done, len(customers))
        metric("mean_probability", float(pd.concat(parts).mean()), step=done)
    return pd.concat(parts)


def main() -> None:
    """The whole job, in the order of its log."""
    stop_on_sigterm()
    chosen = hyperparameters(__file__)
    path = input_file("model", MODEL)
    model = load(path)

    print("Reading TRAINING_DATA_VIEW")
    customers = read_customers(known=False)
    probability = score(model, customers, chosen["batch_rows"])

    scores = pd.DataFrame({KEY: customers[KEY], "PROBABILITY": probability})
    scores["LEAVES"] = scores["PROBABILITY"] >= chosen["threshold"]
    scores.to_parquet(ARTIFACTS / SCORES, index=False)
    summary = {
        "rows": len(scores),
        "leaving": int(scores["LEAVES"].sum()),
        "mean_probability": float(scores["PROBABILITY"].mean()),
        "threshold": chosen["threshold"],
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    write_json("summary.json", summary)
    print(f"{summary['leaving']:,} of {len(scores):,} customers are likely to leave. Wrote {SCORES}")


if __name__ == "__main__":
    main()
