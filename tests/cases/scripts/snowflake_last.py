# /// ml-job
# secrets = ["api-token", "snowflake"]
# ///
"""Connects to Snowflake, as far as it gets without a network."""

import os

import snowflake.connector

print("home", os.environ.get("SNOWFLAKE_HOME"))
try:
    snowflake.connector.connect(login_timeout=1, network_timeout=1)
except Exception as error:
    print("error", type(error).__name__)
