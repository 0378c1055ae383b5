# /// ml-job
# description = "Predicts nothing: the parameters of the script of this name, and what it reports and leaves"
#
# [limits]
# memory_bytes = 67108864
# cpus = 0.25
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
"""Takes the place of the project's script: a bed's image has no packages, and its network no data.

Reports progress and a metric for each step, and leaves the files of which clients' tests know the names.
"""

import random
import time

from _common import ARTIFACTS, hyperparameters, metric, milestones, progress, stop_on_sigterm, write_json

PAUSE = 0.005  # seconds for a tree

stop_on_sigterm()
chosen = hyperparameters(__file__)
dice, total, grown = random.Random(chosen["random_state"]), chosen["n_estimators"], 0
for trees in milestones(total):
    time.sleep(PAUSE * (trees - grown))
    grown, auc = trees, 0.5 + trees / (2 * total + 1)
    print(f"Grew {trees} of {total} trees: ROC AUC {auc:.4f}")
    progress(trees, total)
    metric("roc_auc", auc, step=trees)
(ARTIFACTS / "churn_model.joblib").write_bytes(dice.randbytes(200_000))
write_json("metrics.json", {"roc_auc": auc})
