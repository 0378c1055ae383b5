# /// ml-job
# description = "Predicts which customers leave: boosted trees on TRAINING_DATA_VIEW, made to be swept"
# secrets = ["snowflake"]
# network = "warehouse"
# artifacts = ["churn_model.joblib", "metrics.json"]
#
# [limits]
# memory_bytes = 2147483648
# cpus = 1
# tasks = 256
# run_time_seconds = 1800
#
# [[parameters]]
# name = "rounds"
# type = "integer"
# description = "Trees, one after the other"
# default = "120"
# minimum = 1
# maximum = 2000
#
# [[parameters]]
# name = "learning_rate"
# type = "number"
# description = "Share of each tree's correction that is taken"
# default = "0.08"
# minimum = 0.001
# maximum = 1
#
# [[parameters]]
# name = "max_leaf_nodes"
# type = "integer"
# description = "Maximum leaves of a tree"
# default = "15"
# minimum = 2
# maximum = 255
#
# [[parameters]]
# name = "min_samples_leaf"
# type = "integer"
# description = "Minimum number of customers in a leaf"
# default = "20"
# minimum = 1
# maximum = 1000
#
# [[parameters]]
# name = "l2_regularization"
# type = "number"
# description = "Penalty on large corrections"
# default = "1"
# minimum = 0
# maximum = 1000
#
# [[parameters]]
# name = "random_state"
# type = "integer"
# description = "Seed of the split and of the trees"
# default = "42"
# minimum = 0
# maximum = 4294967295
# ///
"""Boosts trees on the customers of TRAINING_DATA_VIEW, and reports how good they are after each step.

    ml-job sweep submit boost_churn_model.py --minimize log_loss --trials 40 --pruner median \\
        -s learning_rate=0.005..0.5:log -s max_leaf_nodes=2..64:log -s min_samples_leaf=5..200:log \\
        -s l2_regularization=0.01..100:log

The customers are split in three: the trees learn from one part, a sweep chooses by another (`log_loss`,
`roc_auc`), and the third (`test_…` in metrics.json) says how good the chosen model is: a value that was the
best of many is better than the model.

Writes to /artifacts: churn_model.joblib (a scikit-learn pipeline that takes the view's columns unchanged),
metrics.json and holdout.parquet (the third part).
"""

import platform
from typing import Any

import joblib
import pandas as pd
import sklearn
from _churn import MODEL, NUMBERS, TARGET, WORDS, read_customers
from _common import ARTIFACTS, hyperparameters, metric, milestones, progress, stop_on_sigterm, write_json
from sklearn import metrics
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

SHARE = 0.2  # of the customers, in each of the second and the third part


def pipeline(chosen: dict[str, Any]) -> Pipeline:
    """An unfitted pipeline from a customer's columns to the probability of leaving."""
    trees = HistGradientBoostingClassifier(
        learning_rate=chosen["learning_rate"],
        max_leaf_nodes=chosen["max_leaf_nodes"],
        min_samples_leaf=chosen["min_samples_leaf"],
        l2_regularization=chosen["l2_regularization"],
        random_state=chosen["random_state"],
        early_stopping=False,  # a pruner ends what is not worth going on
        warm_start=True,  # each fit adds trees to the existing ones
    )
    words = OneHotEncoder(sparse_output=False)
    columns = ColumnTransformer([("numbers", "passthrough", NUMBERS), ("words", words, WORDS)])
    return Pipeline([("columns", columns), ("trees", trees)])


def scores(model: Pipeline, customers: pd.DataFrame) -> dict[str, float]:
    """How well the model tells who leaves."""
    leaves, probability = customers[TARGET], model.predict_proba(customers)[:, 1]
    return {
        "log_loss": metrics.log_loss(leaves, probability),
        "roc_auc": metrics.roc_auc_score(leaves, probability),
    }


def train(model: Pipeline, known: pd.DataFrame, judges: pd.DataFrame, rounds: int) -> None:
    """Boosts in steps, and reports the scores after each. Steps have the same numbers in every trial."""
    trees = model["trees"]
    features = model["columns"].fit_transform(known)
    for done in milestones(rounds, steps=24):
        trees.set_params(max_iter=done).fit(features, known[TARGET])
        found = scores(model, judges)
        print(f"Boosted {done} of {rounds} trees: log loss {found['log_loss']:.4f}")
        progress(done, rounds)
        for name, value in found.items():
            metric(name, value, step=done)


def main() -> None:
    """The whole job, in the order of its log."""
    stop_on_sigterm()
    chosen = hyperparameters(__file__)

    print("Reading TRAINING_DATA_VIEW")
    customers = read_customers()
    print(f"Read {len(customers):,} customers; {customers[TARGET].mean():.1%} of them left")

    seed = chosen["random_state"]
    rest, test = train_test_split(customers, test_size=SHARE, random_state=seed, stratify=customers[TARGET])
    judging = SHARE / (1 - SHARE)
    known, judges = train_test_split(rest, test_size=judging, random_state=seed, stratify=rest[TARGET])
    model = pipeline(chosen)
    train(model, known, judges, chosen["rounds"])

    tested = {f"test_{name}": value for name, value in scores(model, test).items()}
    print(f"ROC AUC {tested['test_roc_auc']:.4f} on {len(test):,} customers that chose nothing")
    joblib.dump(model, ARTIFACTS / MODEL, compress=3)
    test.to_parquet(ARTIFACTS / "holdout.parquet", index=False)
    details = {
        "rows": {"learned": len(known), "judged": len(judges), "tested": len(test)},
        "holdout": {"file": "holdout.parquet", "rows": len(test), "target": TARGET, "stratified": True},
        "features": NUMBERS + WORDS,
        "hyperparameters": chosen,
        "versions": {"python": platform.python_version(), "scikit-learn": sklearn.__version__},
    }
    write_json("metrics.json", scores(model, judges) | tested | details)
    print(f"Wrote {MODEL}, metrics.json and holdout.parquet")


if __name__ == "__main__":
    main()
