# One target per intent. `make` alone lists them.
SHELL := /bin/sh
# Our tools start many processes, which would all compile their libraries again.
unexport PYTHONDONTWRITEBYTECODE
.DEFAULT_GOAL := help
.PHONY: help up down status check test pipeline database molecule fleet bench venv lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

up: ## Create or update the fleet on this machine
	@tools/prepare.sh up
	@$(MAKE) --no-print-directory venv
	@tools/up

down: ## Remove the fleet and all its files from this machine
	@tools/prepare.sh down
	@$(MAKE) --no-print-directory venv
	@tools/page close
	@tools/play --inventory inventory/local/hosts.yml playbooks/teardown.yml

status: ## Show units and last readings of the fleet
	@tools/prepare.sh status
	@$(MAKE) --no-print-directory venv
	@tools/status

check: ## Run linters and unit tests, without a host (a minute or two)
	@tools/prepare.sh check
	@$(MAKE) --no-print-directory venv
	@tools/check

test: ## Run everything that CI runs
	@tools/prepare.sh test
	@$(MAKE) --no-print-directory check
	@tools/test

pipeline: ## Test the image pipeline with a real RabbitMQ on loopback, without a host
	@tools/prepare.sh pipeline
	@$(MAKE) --no-print-directory venv
	@tools/run pytest app/tests/images/pipeline --timeout 600

database: ## Test the peers' database with a real MariaDB on loopback, without a host
	@tools/prepare.sh database
	@$(MAKE) --no-print-directory venv
	@tools/run pytest app/tests/peers/database app/tests/peers/server/test_durable.py

molecule: ## Test every role on real systemd hosts, or one: make molecule ROLE=sensors
	@tools/prepare.sh molecule
	@$(MAKE) --no-print-directory venv
	@tools/molecule $(ROLE)

fleet: ## Run the acceptance tests on the running fleet
	@tools/prepare.sh fleet
	@$(MAKE) --no-print-directory venv
	@tools/fleet

bench: ## Benchmark: ratios to the legacy designs, C servers, Redis, pika, Dask, Celery, …
	@tools/prepare.sh bench
	@$(MAKE) --no-print-directory venv
	@tools/baselines
	@tools/run python -m bench $(BENCH)

venv: ## Create .venv: the control node's tools and .venv/bin/frota
	@tools/prepare.sh venv
	@$(MAKE) --no-print-directory --silent .venv/ready
	@tools/front_end

.venv/ready: requirements/control.txt requirements/dev.txt app/pyproject.toml
	@tools/venv

lock: ## Lock the requirements again
	@tools/lock
