# /// ml-job
# description = "Predicts what a customer is worth: gradient-boosted trees on LIFETIME_VALUE_VIEW"
# secrets = ["snowflake"]
# network = "warehouse"
# artifacts = ["lifetime_value.joblib", "metrics.json"]
#
# [limits]
# memory_bytes = 2147483648
# cpus = 1
# tasks = 256
# run_time_seconds = 1800
#
# [[parameters]]
# name = "n_estimators"
# type = "integer"
# description = "Trees; each corrects the errors of those before it"
# default = "200"
# minimum = 1
# maximum = 5000
#
# [[parameters]]
# name = "learning_rate"
# type = "number"
# description = "Share of a tree's correction that is applied"
# default = "0.1"
# minimum = 0.001
# maximum = 1
#
# [[parameters]]
# name = "max_depth"
# type = "integer"
# description = "Maximum depth of a tree"
# default = "4"
# minimum = 1
# maximum = 16
#
# [[parameters]]
# name = "loss"
# description = "Loss that the trees minimise; huber is less sensitive to outliers"
# default = "squared_error"
# choices = ["squared_error", "absolute_error", "huber"]
#
# [[parameters]]
# name = "random_state"
# type = "integer"
# description = "Seed of the split and of the trees"
# default = "42"
# minimum = 0
# maximum = 4294967295
# ///
"""Boosts regression trees on the customers of LIFETIME_VALUE_VIEW and evaluates them.

Writes to /artifacts: lifetime_value.joblib (a scikit-learn pipeline that takes the view's columns unchanged),
metrics.json, holdout.parquet (the customers held out for the evaluation) and lifetime_value.png.
"""

import platform
from typing import Any

import joblib
import pandas as pd
import sklearn
from _common import (
    ARTIFACTS,
    hyperparameters,
    metric,
    milestones,
    progress,
    query,
    stop_on_sigterm,
    write_json,
)
from matplotlib import pyplot as plt
from sklearn import metrics
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

KEY = "CUSTOMER_ID"
TARGET = "LIFETIME_VALUE"
NUMBERS = ["AGE", "TENURE_MONTHS", "MONTHLY_CHARGES", "DATA_USAGE_GB", "SUPPORT_CALLS", "LATE_PAYMENTS"]
WORDS = ["CONTRACT", "INTERNET_SERVICE", "PAYMENT_METHOD"]
HOLDOUT_SHARE = 0.25


def read_customers() -> pd.DataFrame:
    """All customers in a fixed order, so that a seed always gives the same split."""
    columns = ", ".join([KEY, *NUMBERS, *WORDS, TARGET])
    customers = query(f"SELECT {columns} FROM LIFETIME_VALUE_VIEW ORDER BY {KEY}")
    # NUMBER columns arrive as Decimal, which scikit-learn refuses.
    return customers.astype(dict.fromkeys([*NUMBERS, TARGET], float) | {KEY: int})


def pipeline(chosen: dict[str, Any]) -> Pipeline:
    """An unfitted pipeline from a customer's columns to dollars."""
    trees = GradientBoostingRegressor(
        n_estimators=chosen["n_estimators"],
        learning_rate=chosen["learning_rate"],
        max_depth=chosen["max_depth"],
        loss=chosen["loss"],
        random_state=chosen["random_state"],
        warm_start=True,  # each fit adds trees to the existing ones
    )
    columns = ColumnTransformer([("numbers", "passthrough", NUMBERS), ("words", OneHotEncoder(), WORDS)])
    return Pipeline([("columns", columns), ("trees", trees)])


def train(model: Pipeline, known: pd.DataFrame, holdout: pd.DataFrame) -> dict[int, float]:
    """Boosts in steps; returns the mean absolute error in dollars by number of trees."""
    boosted = model["trees"]
    features = model["columns"].fit_transform(known)
    total = boosted.n_estimators
    errors = {}
    for trees in milestones(total, steps=20):
        boosted.set_params(n_estimators=trees).fit(features, known[TARGET])
        errors[trees] = metrics.mean_absolute_error(holdout[TARGET], model.predict(holdout))
        print(f"Boosted {trees} of {total} trees: off by ${errors[trees]:,.2f} on average")
        progress(trees, total)
        metric("mae", errors[trees], step=trees)
    return errors


def evaluate(model: Pipeline, holdout: pd.DataFrame) -> dict[str, Any]:
    """The model's scores on the held-out customers; errors in dollars."""
    true, predicted = holdout[TARGET], model.predict(holdout)
    return {
        "mae": metrics.mean_absolute_error(true, predicted),
        "rmse": metrics.root_mean_squared_error(true, predicted),
        "r2": metrics.r2_score(true, predicted),
        "mae_of_the_mean": (true - true.mean()).abs().mean(),
    }


def draw(model: Pipeline, holdout: pd.DataFrame, errors: dict[int, float]) -> None:
    """Draws the error by number of trees, and the predicted against the true values."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5), layout="constrained")
    left.plot(list(errors), list(errors.values()), marker="o")
    left.set(title="Learning", xlabel="trees", ylabel="mean absolute error, $", ylim=(0, None))
    right.scatter(holdout[TARGET], model.predict(holdout), s=6, alpha=0.4)
    right.axline((0, 0), slope=1, color="black", linewidth=1, linestyle="--")
    right.set(title="Every held-out customer", xlabel="true value, $", ylabel="predicted value, $")
    figure.suptitle(f"Lifetime value, evaluated on {len(holdout):,} held-out customers")
    figure.savefig(ARTIFACTS / "lifetime_value.png", dpi=120)


def main() -> None:
    """The whole job, in the order of its log."""
    stop_on_sigterm()
    chosen = hyperparameters(__file__)

    print("Reading LIFETIME_VALUE_VIEW")
    customers = read_customers()
    print(f"Read {len(customers):,} customers, worth ${customers[TARGET].mean():,.2f} on average")

    known, holdout = train_test_split(customers, test_size=HOLDOUT_SHARE, random_state=chosen["random_state"])
    model = pipeline(chosen)
    errors = train(model, known, holdout)

    scores = evaluate(model, holdout)
    print(f"Off by ${scores['mae']:,.2f} on average, R² {scores['r2']:.4f} on {len(holdout):,} customers")

    joblib.dump(model, ARTIFACTS / "lifetime_value.joblib", compress=3)
    holdout.to_parquet(ARTIFACTS / "holdout.parquet", index=False)
    draw(model, holdout, errors)
    details = {
        "rows": len(customers),
        "holdout": {"file": "holdout.parquet", "rows": len(holdout), "target": TARGET},
        "features": NUMBERS + WORDS,
        "hyperparameters": chosen,
        "versions": {"python": platform.python_version(), "scikit-learn": sklearn.__version__},
    }
    write_json("metrics.json", scores | details)
    print("Wrote lifetime_value.joblib, metrics.json, holdout.parquet and lifetime_value.png")


if __name__ == "__main__":
    main()
