# /// ml-job
# description = "Predicts which customers leave: a random forest on TRAINING_DATA_VIEW"
# secrets = ["snowflake"]
# network = "warehouse"
# artifacts = ["churn_model.joblib", "metrics.json"]
#
# [limits]
# memory_bytes = 2147483648
# cpus = 2
# tasks = 256
# run_time_seconds = 1800
#
# [[parameters]]
# name = "n_estimators"
# type = "integer"
# description = "Trees in the forest"
# default = "150"
# minimum = 1
# maximum = 5000
#
# [[parameters]]
# name = "max_depth"
# type = "integer"
# description = "Maximum depth of a tree"
# default = "12"
# minimum = 1
# maximum = 64
#
# [[parameters]]
# name = "min_samples_leaf"
# type = "integer"
# description = "Minimum number of customers in a leaf"
# default = "3"
# minimum = 1
# maximum = 1000
#
# [[parameters]]
# name = "test_size"
# type = "number"
# description = "Share of the customers held out to evaluate the model"
# default = "0.25"
# minimum = 0.05
# maximum = 0.5
#
# [[parameters]]
# name = "random_state"
# type = "integer"
# description = "Seed of the split and of the forest"
# default = "42"
# minimum = 0
# maximum = 4294967295
# ///
"""Trains a random forest on the customers of TRAINING_DATA_VIEW and evaluates it.

Writes to /artifacts: churn_model.joblib (a scikit-learn pipeline that takes the view's columns unchanged),
metrics.json, holdout.parquet (the customers held out for the evaluation) and churn_model.png.
"""

import platform
from typing import Any

import joblib
import pandas as pd
import sklearn
from _churn import MODEL, NUMBERS, TARGET, WORDS, read_customers
from _common import (
    ARTIFACTS,
    hyperparameters,
    metric,
    milestones,
    progress,
    stop_on_sigterm,
    write_json,
)
from matplotlib import pyplot as plt
from sklearn import metrics
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder


def pipeline(chosen: dict[str, Any]) -> Pipeline:
    """An unfitted pipeline from a customer's columns to the probability of leaving."""
    forest = RandomForestClassifier(
        n_estimators=chosen["n_estimators"],
        max_depth=chosen["max_depth"],
        min_samples_leaf=chosen["min_samples_leaf"],
        random_state=chosen["random_state"],
        warm_start=True,  # each fit adds trees to the existing ones
        n_jobs=-1,
    )
    columns = ColumnTransformer([("numbers", "passthrough", NUMBERS), ("words", OneHotEncoder(), WORDS)])
    return Pipeline([("columns", columns), ("forest", forest)])


def train(model: Pipeline, known: pd.DataFrame, holdout: pd.DataFrame) -> None:
    """Grows the forest in steps, and reports its quality after each."""
    forest = model["forest"]
    features = model["columns"].fit_transform(known)
    total = forest.n_estimators
    for trees in milestones(total):
        forest.set_params(n_estimators=trees).fit(features, known[TARGET])
        auc = metrics.roc_auc_score(holdout[TARGET], model.predict_proba(holdout)[:, 1])
        print(f"Grew {trees} of {total} trees: ROC AUC {auc:.4f}")
        progress(trees, total)
        metric("roc_auc", auc, step=trees)
    # One thread sums the trees' votes in a fixed order, so that every evaluation gives the same bits.
    forest.set_params(n_jobs=1)


def evaluate(model: Pipeline, holdout: pd.DataFrame) -> dict[str, Any]:
    """The model's scores on the held-out customers."""
    leaves, predicted = holdout[TARGET], model.predict(holdout)
    return {
        "accuracy": metrics.accuracy_score(leaves, predicted),
        "roc_auc": metrics.roc_auc_score(leaves, model.predict_proba(holdout)[:, 1]),
        "precision": metrics.precision_score(leaves, predicted, zero_division=0),
        "recall": metrics.recall_score(leaves, predicted),
        "accuracy_if_all_stay": 1 - leaves.mean(),
        "confusion_matrix": metrics.confusion_matrix(leaves, predicted).tolist(),
    }


def draw(model: Pipeline, holdout: pd.DataFrame) -> None:
    """Draws the ROC curve and the confusion matrix side by side."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    metrics.RocCurveDisplay.from_estimator(
        model, holdout, holdout[TARGET], name="forest", plot_chance_level=True, ax=left
    )
    left.set(title="ROC curve", xlabel="false positive rate", ylabel="true positive rate")
    metrics.ConfusionMatrixDisplay.from_estimator(
        model,
        holdout,
        holdout[TARGET],
        display_labels=["stays", "leaves"],
        cmap="Blues",
        colorbar=False,
        ax=right,
    )
    right.set(title="Confusion matrix", xlabel="predicted", ylabel="true")
    figure.suptitle(f"Churn model, evaluated on {len(holdout):,} held-out customers")
    figure.savefig(ARTIFACTS / "churn_model.png", dpi=120)


def main() -> None:
    """The whole job, in the order of its log."""
    stop_on_sigterm()
    chosen = hyperparameters(__file__)

    print("Reading TRAINING_DATA_VIEW")
    customers = read_customers()
    print(f"Read {len(customers):,} customers; {customers[TARGET].mean():.1%} of them left")

    known, holdout = train_test_split(
        customers,
        test_size=chosen["test_size"],
        random_state=chosen["random_state"],
        stratify=customers[TARGET],
    )
    model = pipeline(chosen)
    train(model, known, holdout)

    scores = evaluate(model, holdout)
    print(f"Accuracy {scores['accuracy']:.4f}, ROC AUC {scores['roc_auc']:.4f} on {len(holdout):,} customers")

    joblib.dump(model, ARTIFACTS / MODEL, compress=3)
    holdout.to_parquet(ARTIFACTS / "holdout.parquet", index=False)
    draw(model, holdout)
    details = {
        "rows": len(customers),
        "holdout": {"file": "holdout.parquet", "rows": len(holdout), "target": TARGET, "stratified": True},
        "features": NUMBERS + WORDS,
        "hyperparameters": chosen,
        "versions": {"python": platform.python_version(), "scikit-learn": sklearn.__version__},
    }
    write_json("metrics.json", scores | details)
    print("Wrote churn_model.joblib, metrics.json, holdout.parquet and churn_model.png")


if __name__ == "__main__":
    main()
