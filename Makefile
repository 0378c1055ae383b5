# One verb per target. `test`, `faults`, `security` and `bench` boot the disposable host of tests/host, `demo` where
# it must, and `fleet` several; that needs root.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test client client-host client-check client-swift faults fleet security bench bench-host bench-jobs \
	bench-logs bench-scale bench-client bench-fleet bench-fleet-host \
	fleet-client fleet-servers browser prometheus docs-page cases lint lock sbom clean

PYTHON ?= python3
VENV ?= .venv
NAME ?= ml-host
VM_NAME ?= ml-vm

HOST := tests/host/host
INSIDE := $(HOST) run --name $(NAME) --cwd /home/ml/src --
INSIDE_ROOT := $(HOST) run --root --name $(NAME) --cwd /home/ml/src --
# Outside the copied checkout, which every `host install` replaces.
INSIDE_VENV := /home/ml/.cache/ml-agent-venv

# Debian's Swift, for the client: 540 MB to fetch, 2.4 GB on disk, once for each host.
SWIFT_PACKAGES := swiftlang libc6-dev libstdc++-14-dev libcurl4-openssl-dev pkg-config gcc
INSIDE_BUILD := /home/ml/.cache/ml-client-build

# The record and the broker of a fleet, for its tests: masked, because these start their own.
FLEET_PACKAGES := redis-server rabbitmq-server
FLEET_UNITS := redis-server.service rabbitmq-server.service epmd.service epmd.socket

PROMETHEUS_UNITS := prometheus.service prometheus-node-exporter.service

# A browser for the tests of the agent's page, and what answers its question for a certificate.
BROWSER_PACKAGES := chromium libnss3-tools
BROWSER_POLICY := /etc/chromium/policies/managed/ml-agent-tests.json
BROWSER_CHOICE := {"AutoSelectCertificateForUrls": ["{\"pattern\":\"https://localhost:*\",\"filter\":{}}"]}

# The agent's page for its OpenAPI document: files of an npm package, each locked by its hash.
PAGE := agent/api/page
PAGE_PACKAGE = $(shell sed -nE 's/.*  (.*)-([0-9.]+)\.tgz$$/\1@\2/p' $(PAGE)/package.sha512)

# Three hosts, record and broker, in a network of their own.
FLEET := tests/fleet/host/fleet
FLEET_QUICK := tests/fleet/host/test_jobs.py
FLEET_SECURITY := tests/fleet/host/test_canary.py tests/fleet/host/test_strangers.py

# What `bench` compares with besides, and no part of this project; without it those rows are missing.
YARDSTICK ?= $(firstword $(wildcard ../*/bench/seed_baseline.py))
INSIDE_YARDSTICK := /home/ml/.cache/ml-agent-bench/seed_baseline.py
# What `bench` compares logs with.
GATEWAYD := /usr/lib/systemd/systemd-journal-gatewayd
PART ?= jobs logs scale
ARGS ?=

LOCK := uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-python-downloads --generate-hashes \
	--only-binary :all: --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

help: ## list the targets
	@sed -nE 's/^([a-z]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 14

demo: ## train a churn model, from certificate to artifacts
	@HOST_NAME=$(NAME) tests/demo/demo

test: $(VENV) ## linters, types and all tests, on a real systemd host
	@$(VENV)/bin/pytest tests/host --ignore=tests/host/test_vm.py
	@$(HOST) install --name $(NAME)
	@$(INSIDE) make VENV=$(INSIDE_VENV) $(INSIDE_VENV)
	@$(MAKE) --no-print-directory fleet-servers browser prometheus
	@tests/faults/faults $(NAME) $(INSIDE_VENV)/bin/python --quick
	@$(INSIDE_ROOT) $(INSIDE_VENV)/bin/python -m tests.cases --quick
	@$(INSIDE) $(INSIDE_VENV)/bin/pytest --ignore=tests/host
	@$(MAKE) --no-print-directory client-check
	@$(MAKE) --no-print-directory fleet QUICK=1

client: client-host client-check ## build, type-check and test the Mac app's code, and run it against the host's agent

client-host:
	@$(HOST) install --name $(NAME)
	@$(INSIDE) make VENV=$(INSIDE_VENV) $(INSIDE_VENV)

client-check: client-swift
	@$(INSIDE) env PYTHON=$(INSIDE_VENV)/bin/python client/check $(INSIDE_BUILD)

client-swift:
	@$(HOST) run --root --name $(NAME) -- sh -c 'command -v swift > /dev/null || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $(SWIFT_PACKAGES); }' > /dev/null

# The app's Kit in real use, to be run against a front.
fleet-client: client-host client-swift
	@$(INSIDE) sh -c 'cd client && swift build --quiet --scratch-path $(INSIDE_BUILD) --product mljob-live'

fleet-servers:
	@$(HOST) run --root --name $(NAME) -- sh -c 'test -x /usr/sbin/rabbitmq-server || { \
		systemctl mask --quiet $(FLEET_UNITS) && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $(FLEET_PACKAGES); }' > /dev/null

browser:
	@$(HOST) run --root --name $(NAME) -- sh -c 'test -x /usr/bin/chromium || { apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $(BROWSER_PACKAGES); }' > /dev/null
	@echo '$(BROWSER_CHOICE)' | $(HOST) run --root --name $(NAME) -- install -D -m 644 /dev/stdin $(BROWSER_POLICY)

# Masked: the tests start their own, and nothing of the host is to be collected.
prometheus:
	@$(HOST) run --root --name $(NAME) -- sh -c 'test -x /usr/bin/prometheus || { \
		systemctl mask --quiet $(PROMETHEUS_UNITS) && apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends prometheus; }' > /dev/null

faults: $(if $(QUICK),,$(VENV)) ## kill, stop and fill all there is, and count broken promises (QUICK=1, VM=1: a part)
ifndef VM
	@$(HOST) install --name $(NAME)
	@$(INSIDE) make VENV=$(INSIDE_VENV) $(INSIDE_VENV)
	@tests/faults/faults $(NAME) $(INSIDE_VENV)/bin/python $(if $(QUICK),--quick)
endif
ifndef QUICK
	@$(VENV)/bin/pytest tests/host/test_vm.py
	@$(HOST) install --vm --system-only --name $(VM_NAME)
	@$(HOST) run --name $(VM_NAME) --cwd /home/ml/src -- make VENV=$(INSIDE_VENV) $(INSIDE_VENV)
	@tests/faults/machine $(VM_NAME) $(INSIDE_VENV)/bin/python
endif

fleet: $(VENV) $(if $(QUICK),,fleet-client) ## break a fleet of three hosts, and count broken promises (QUICK=1: a part)
	@$(FLEET) install
	@CLIENT_HOST=$(NAME) $(VENV)/bin/pytest -m fleet $(if $(QUICK),$(FLEET_QUICK),tests/fleet/host)
	@$(FLEET) down

security: $(VENV) ## attack the agent and a fleet with all there is, and count what got through
	@$(HOST) install --name $(NAME)
	@$(INSIDE) make VENV=$(INSIDE_VENV) $(INSIDE_VENV)
	@$(MAKE) --no-print-directory fleet-servers
	@tests/security/security $(NAME) $(INSIDE_VENV)/bin
	@$(FLEET) install
	@$(VENV)/bin/pytest -m fleet $(FLEET_SECURITY)
	@$(FLEET) down

cases: ## make small cases from use, and print what is seen beside what is right (ARGS=--help for more)
	@$(HOST) install --name $(NAME)
	@$(INSIDE) make VENV=$(INSIDE_VENV) $(INSIDE_VENV)
	@$(INSIDE_ROOT) $(INSIDE_VENV)/bin/python -m tests.cases $(ARGS)

bench: $(PART:%=bench-%) ## measure jobs, logs and long histories (PART=logs or client, ARGS=--help for more)

bench-host:
	@$(HOST) install --name $(NAME)
	@$(INSIDE) make VENV=$(INSIDE_VENV) $(INSIDE_VENV)

bench-jobs: bench-host
	@$(if $(YARDSTICK),$(INSIDE) install -D /dev/stdin $(INSIDE_YARDSTICK) < $(YARDSTICK))
	@$(INSIDE) $(INSIDE_VENV)/bin/python -m tests.bench $(if $(YARDSTICK),--yardstick $(INSIDE_YARDSTICK)) $(ARGS)

bench-logs: bench-host
	@$(HOST) run --root --name $(NAME) -- sh -c 'test -e $(GATEWAYD) || \
		{ apt-get update -qq && apt-get install -qq --yes --no-install-recommends systemd-journal-remote; }' > /dev/null
	@$(INSIDE) $(INSIDE_VENV)/bin/python -m tests.bench.logs $(ARGS)

bench-client: client-host client-swift
	@$(INSIDE) sh -c 'cd client && swift run --quiet --scratch-path $(INSIDE_BUILD) --configuration release mljob-bench'

bench-fleet: bench-host fleet-servers
	@$(INSIDE) $(INSIDE_VENV)/bin/python -m tests.bench.fleet $(ARGS)

bench-fleet-host: $(VENV)
	@$(FLEET) install
	@$(VENV)/bin/python -m tests.fleet.host.overhead $(ARGS)
	@$(FLEET) down

bench-scale: bench-host
	@$(INSIDE) $(INSIDE_VENV)/bin/python -m tests.bench.scale $(ARGS)

lint: $(VENV) ## ruff and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/mypy tests/host/systemd_host
	@MYPYPATH=. $(VENV)/bin/mypy --explicit-package-bases --exclude 'tests/security/hostile|tests/cases/scripts|tests/fleet/host/inside|earlier_state' \
		tests/api tests/bench tests/cases tests/faults tests/fleet/host tests/hostile tests/security tests/support

# The agent is built with hatchling from the same lock: nothing is installed that has no hash.
lock: ## lock anew, to the newest versions, all that is installed (needs uv)
	@echo 'hatchling>=1.26' | $(LOCK) pyproject.toml - --output-file requirements-client.txt
	@echo 'hatchling>=1.26' | $(LOCK) pyproject.toml - --extra host --output-file requirements.txt
	@echo 'hatchling>=1.26' | $(LOCK) pyproject.toml - --extra host --extra fleet --output-file requirements-fleet.txt
	@echo 'hatchling>=1.26' | $(LOCK) pyproject.toml - --extra host --extra sweeps --output-file requirements-sweeps.txt
	@echo 'hatchling>=1.26' | $(LOCK) pyproject.toml - --extra host --extra parquet --output-file requirements-parquet.txt
	@echo 'hatchling>=1.26' | $(LOCK) pyproject.toml - --extra plot --output-file requirements-plot.txt
	@$(LOCK) pyproject.toml --extra dev --extra host --extra fleet --extra sweeps --extra parquet --extra plot \
		--output-file requirements-dev.txt
	@images/lock ml-runner
	@images/lock warehouse

docs-page: ## fetch the files of the agent's page anew, and check their hashes (needs npm)
	@set -e; fetched=$$(mktemp -d); trap 'rm -r "$$fetched"' EXIT; \
		npm pack --silent --pack-destination "$$fetched" $(PAGE_PACKAGE) > /dev/null; \
		(cd "$$fetched" && sha512sum --check --quiet $(CURDIR)/$(PAGE)/package.sha512); \
		sed 's,.*  ,package/,' $(PAGE)/files.sha256 | tar -xzf "$$fetched"/*.tgz -C $(PAGE) --strip-components=1 \
		--no-same-owner --no-same-permissions --touch --files-from=-; \
		cd $(PAGE) && sha256sum --check --quiet files.sha256

sbom: bench-host ## write what the agent and the images consist of (CycloneDX) to dist/sbom
	@mkdir -p dist/sbom
	@$(INSIDE) sh -c 'images/sbom /tmp/sbom $(INSIDE_VENV)/bin >&2 && tar -C /tmp/sbom -c .' | tar -x -C dist/sbom
	@ls dist/sbom

clean: ## remove the host, its cache and the development environment
	@if [ "$$(id -u)" = 0 ]; then $(FLEET) destroy; $(HOST) destroy --name $(VM_NAME); $(HOST) destroy --name $(NAME) --cache; fi
	@rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# Made again when the lock changes. Debian has ensurepip in a package of its own.
$(VENV): pyproject.toml requirements-dev.txt
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ apt-get update --quiet && apt-get install --quiet --yes python3-venv; }
	@$(PYTHON) -m venv $@
	@$@/bin/pip install --quiet --quiet --require-hashes --requirement requirements-dev.txt
	@$@/bin/pip install --quiet --quiet --no-deps --no-build-isolation --editable .
	@touch $@
