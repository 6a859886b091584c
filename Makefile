# Two commands: `make demo` and `make test`. Each does its whole set-up first (tools/setup.sh); the second time it is instant.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Debian keeps smtp-sink and smtp-source in /usr/sbin, which is not on everybody's PATH.
export PATH := $(PATH):/usr/sbin

bin := .venv/bin
lock := env -u UV_FIND_LINKS $(bin)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
        $(if $(UPGRADE),--upgrade)

.PHONY: help demo serve test lint bench lock clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

demo: ## Try it: a sample job of 5,000 recipients to a sandbox gateway (AUTO=1 approves it and runs it to the end)
	@tools/setup.sh run
	@$(bin)/postroom demo $(if $(AUTO),--auto)

serve: ## Run Postroom: the pages and the workers
	@tools/setup.sh run
	@$(bin)/postroom serve

test: ## Everything that must pass: lint, types, the whole test suite
	@tools/setup.sh dev
	@$(bin)/ruff check .
	@$(bin)/mypy
	@$(bin)/pytest

lint: ## Only the linter and the type checker
	@tools/setup.sh dev
	@$(bin)/ruff check .
	@$(bin)/mypy

bench: ## Run every benchmark of bench/ (JSON=1: one object per figure and line)
	@tools/setup.sh bench
	@failed=; for file in $$(grep -l '__main__' bench/[a-z]*.py); do \
		$(bin)/python "$$file" $(if $(JSON),--json) || failed="$$failed $$file"; \
	done; if [ -n "$$failed" ]; then echo "Failed:$$failed" >&2; exit 1; fi

lock: ## Write the lock files again from pyproject.toml (UPGRADE=1 takes newer versions)
	@tools/setup.sh dev
	$(lock) pyproject.toml --group build -o requirements.lock
	$(lock) pyproject.toml --group build --group dev -c requirements.lock -o requirements-dev.lock
	$(lock) pyproject.toml --group build --group dev --group bench -c requirements-dev.lock -o requirements-bench.lock

clean: ## Remove the virtual environment and every cache; data in .postroom stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info
	find src tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} +
