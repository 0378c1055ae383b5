"""The customers of TRAINING_DATA_VIEW, as every script about churn reads them.

The agent does not offer files with a leading underscore as jobs.
"""

from typing import TYPE_CHECKING

from _common import query

if TYPE_CHECKING:
    import pandas as pd

KEY = "CUSTOMER_ID"
TARGET = "CHURNED"
NUMBERS = [
    "AGE",
    "TENURE_MONTHS",
    "MONTHLY_CHARGES",
    "DATA_USAGE_GB",
    "SUPPORT_CALLS",
    "DROPPED_CALLS",
    "LATE_PAYMENTS",
    "HAS_TECH_SUPPORT",
]
WORDS = ["CONTRACT", "INTERNET_SERVICE", "PAYMENT_METHOD"]
MODEL = "churn_model.joblib"  # what a training leaves: a scikit-learn pipeline that takes these columns


def read_customers(*, known: bool = True) -> "pd.DataFrame":
    """All customers in a fixed order; with `known`, also whether each has left."""
    kinds = dict.fromkeys(NUMBERS, float) | {KEY: int} | ({TARGET: bool} if known else {})
    columns = ", ".join([KEY, *NUMBERS, *WORDS, *([TARGET] if known else [])])
    customers = query(f"SELECT {columns} FROM TRAINING_DATA_VIEW ORDER BY {KEY}")
    # NUMBER columns arrive as Decimal, which scikit-learn refuses.
    return customers.astype(kinds)
