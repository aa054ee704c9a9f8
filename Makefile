# One target per intent. `make` alone lists them.
SHELL := /bin/sh
PYTHON ?= $(firstword $(wildcard /usr/bin/python3 /usr/local/bin/python3) python3)
export PYTHON
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help up down status check test molecule fleet bench venv lock

help: ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Bring the fleet up on this machine, or up to date
	@tools/prepare.sh up
	@$(MAKE) --no-print-directory venv
	@# The inventory asks the embedded AWS: where that does not answer yet, it comes first.
	@$(BIN)/ansible-inventory --graph 2>/dev/null | grep -q '@sensor_server' || \
	  tools/play -i inventory/local/hosts.yml playbooks/embedded_aws.yml
	@tools/play site.yml
	@tools/next

down: venv ## Remove the fleet, and every trace of it, from this machine
	@tools/play -i inventory/local/hosts.yml playbooks/teardown.yml

status: venv ## Show units and last readings of the fleet
	@tools/play playbooks/status.yml

check: venv ## Lint and unit tests, without a host (under a minute)
	@tools/check

test: ## Everything that CI runs
	@tools/prepare.sh test
	@$(MAKE) --no-print-directory check molecule up fleet
	@$(BIN)/python -m bench sensors --quick

molecule: venv ## Every role on real systemd hosts; one of them: make molecule ROLE=sensors
	@tools/molecule $(ROLE)

fleet: venv ## The acceptance tests, on the fleet that is up
	@$(BIN)/pytest tests/fleet

bench: venv ## Measure: ratios to the original's design and to a C server
	@$(BIN)/python -m bench $(BENCH)

venv: .venv/ready ## The control node's tools, and .venv/bin/frota
	@:

.venv/ready: requirements/control.txt requirements/dev.txt app/pyproject.toml
	@tools/prepare.sh venv
	@echo "Preparing .venv (half a minute)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --no-compile --require-hashes -r requirements/control.txt -r requirements/dev.txt
	@$(BIN)/pip install -qq --no-deps --no-build-isolation --no-index --editable app
	@touch $@

lock: ## Lock the requirements anew
	@tools/lock
