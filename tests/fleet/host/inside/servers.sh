#!/bin/bash
# As root on the node of the servers.
set -euo pipefail
