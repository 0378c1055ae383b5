"""Customers of an invented telecommunications provider: who left, and the value of each.

Ten thousand rows from a fixed seed, so that models can be compared. It needs only the standard library:
`python3 dataset.py > customers.csv` writes the same rows, which a real Snowflake account can load.
"""

import csv
import math
import sys
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

ROWS = 10_000
SEED = 20_240_229

# The shares of the customers.
CONTRACTS = {"month-to-month": 0.55, "one-year": 0.25, "two-year": 0.20}
INTERNET = {"dsl": 0.35, "fiber": 0.45, "none": 0.20}
PAYMENTS = {"electronic-check": 0.34, "mailed-check": 0.22, "bank-transfer": 0.22, "credit-card": 0.22}

MEAN_TENURE = {"month-to-month": 18, "one-year": 38, "two-year": 52}  # months
MEAN_CHARGES = {"none": 22.0, "dsl": 52.0, "fiber": 82.0}  # dollars a month
MEAN_USAGE = {"none": 0.0, "dsl": 140.0, "fiber": 280.0}  # gigabytes a month

# How much each answer moves the log-odds of leaving.
BASE_RISK = -2.5
CONTRACT_RISK = {"month-to-month": 1.7, "one-year": -0.7, "two-year": -2.3}
INTERNET_RISK = {"dsl": 0.0, "fiber": 0.9, "none": -0.9}
SHARPNESS = 1.9  # the larger, the less chance decides
NOISE = 0.55  # standard deviation of what no column explains, so that no model reaches 100 %


class Customer(NamedTuple):
    """One row of CUSTOMERS, in the order of its columns in `schema.sql`; money in dollars."""

    customer_id: int
    age: int
    tenure_months: int
    contract: str
    internet_service: str
    payment_method: str
    monthly_charges: float
    data_usage_gb: float
    support_calls: int
    dropped_calls: int
    late_payments: int
    has_tech_support: bool
    churned: bool = False
    lifetime_value: float = 0.0


def _pick(random: Random, shares: dict[str, float]) -> str:
    return random.choices(list(shares), weights=list(shares.values()))[0]


def _count(random: Random, mean: float) -> int:
    """A Poisson draw (Knuth's method) with the given mean."""
    threshold, draws, product = math.exp(-mean), 0, random.random()
    while product > threshold:
        draws += 1
        product *= random.random()
    return draws


def _gamma(random: Random, shape: float, mean: float) -> float:
    return random.gammavariate(shape, mean / shape) if mean else 0.0


def _traits(random: Random, customer_id: int) -> Customer:
    contract, internet, payment = (_pick(random, shares) for shares in (CONTRACTS, INTERNET, PAYMENTS))
    has_tech_support = internet != "none" and random.random() < 0.4
    return Customer(
        customer_id=customer_id,
        age=max(18, min(90, round(random.gauss(46, 16)))),
        tenure_months=max(1, min(72, round(_gamma(random, 1.8, MEAN_TENURE[contract])))),
        contract=contract,
        internet_service=internet,
        payment_method=payment,
        monthly_charges=round(max(15.0, random.gauss(MEAN_CHARGES[internet] + 6 * has_tech_support, 9)), 2),
        data_usage_gb=round(_gamma(random, 2.0, MEAN_USAGE[internet]), 1),
        support_calls=_count(random, 0.9 if has_tech_support else 1.7),
        dropped_calls=_count(random, 2.2),
        late_payments=_count(random, 1.1 if payment.endswith("check") else 0.4),
        has_tech_support=has_tech_support,
    )


def _risk(customer: Customer) -> float:
    """The log-odds of leaving that the columns explain."""
    return (
        BASE_RISK
        + CONTRACT_RISK[customer.contract]
        + INTERNET_RISK[customer.internet_service]
        + 0.55 * (customer.support_calls - 1.4)
        + 1.10 * max(0, customer.support_calls - 3)  # where patience ends
        + 0.28 * (customer.dropped_calls - 2.2)
        + 0.60 * customer.late_payments
        + 1.30 * math.exp(-customer.tenure_months / 9)  # the first months decide
        + 0.02 * (customer.monthly_charges - 60)
        - 0.80 * customer.has_tech_support
    )


def _outcome(random: Random, customer: Customer) -> Customer:
    risk = _risk(customer) + random.gauss(0, NOISE)
    churned = random.random() < 1 / (1 + math.exp(-SHARPNESS * risk))
    months_to_come = 0.0 if churned else 24 / (1 + math.exp(risk))
    margin = 0.62 - 0.018 * customer.support_calls - 0.03 * customer.late_payments + random.gauss(0, 0.04)
    value = max(0.0, margin) * customer.monthly_charges * (customer.tenure_months + months_to_come)
    return customer._replace(churned=churned, lifetime_value=round(value, 2))


def customers(rows: int = ROWS, seed: int = SEED) -> Iterator[Customer]:
    """The first `rows` customers for a seed, always the same."""
    random = Random(seed)  # noqa: S311 (a data set, no key)
    for customer_id in range(100_001, 100_001 + rows):
        yield _outcome(random, _traits(random, customer_id))


if __name__ == "__main__":
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(name.upper() for name in Customer._fields)
    writer.writerows(customers())
