# Two commands: `make demo` and `make test`. Each does its whole set-up first (tools/setup.sh); the second time it is instant.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# Debian keeps smtp-sink and smtp-source in /usr/sbin, which is not on everybody's PATH.
export PATH := $(PATH):/usr/sbin

bin := .venv/bin
lock := env -u UV_FIND_LINKS $(bin)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-header \
        $(if $(UPGRADE),--upgrade)

.PHONY: help demo serve test alone lint fuzz prove mutants bench bare lock clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-8s %s\n", $$1, $$2 }'

demo: ## Try it: a sample job of 5,000 recipients to a sandbox gateway (AUTO=1 approves it and runs it to the end)
	@tools/setup.sh run
	@$(bin)/postroom demo $(if $(AUTO),--auto)

serve: ## Run Postroom: the pages and the workers
	@tools/setup.sh run
	@$(bin)/postroom serve

test: ## Everything that must pass: lint, types, the whole test suite (SHUFFLE=1 in random order, SEED= again)
	@tools/setup.sh dev
	@$(bin)/ruff check .
	@$(bin)/mypy
	@$(bin)/pytest --numprocesses 4 --dist worksteal \
		$(if $(SHUFFLE)$(SEED),--random-order) $(if $(SEED),--random-order-seed $(SEED))

alone: ## Each test function in a process of its own, in an hour or two (ONLY="tests/flow" some, JOBS=2 at once)
	@tools/setup.sh dev
	@$(bin)/python tools/alone.py $(if $(JOBS),--jobs $(JOBS)) $(ONLY)

lint: ## Only the linter and the type checker
	@tools/setup.sh dev
	@$(bin)/ruff check .
	@$(bin)/mypy

fuzz: ## A million values through two parsers of mail, 100,000 requests (VALUES=, REQUESTS= fewer, ONLY=bytes or api, SEED= again)
	@tools/setup.sh dev
	@POSTROOM_VALUES=$(or $(VALUES),1000000) POSTROOM_API_REQUESTS=$(or $(REQUESTS),100000) POSTROOM_SEED=$(SEED) \
		$(bin)/pytest -s tests/message/render/test_bytes.py tests/doors/test_api_fuzz.py $(if $(ONLY),-k "$(ONLY)")

prove: ## The proofs, all of them, in some hours (NAME="kills points" some, SHORT=1 small, SEED=... again, JSON=1)
	@tools/setup.sh dev
	@$(bin)/python -m proofs $(NAME) $(if $(SHORT),--short) $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json)

mutants: ## Plant faults into copies, one each, and see that each is noticed (ONLY="journal" some, JOBS=2 at once)
	@tools/setup.sh dev
	@$(bin)/python -m proofs.mutants $(if $(ONLY),--only "$(ONLY)") $(if $(JOBS),--jobs $(JOBS))

bench: ## Run every benchmark of bench/ (JSON=1: one object per figure and line)
	@tools/setup.sh bench
	@failed=; for file in $$(grep -l '__main__' bench/[a-z]*.py); do \
		$(bin)/python "$$file" $(if $(JSON),--json) || failed="$$failed $$file"; \
	done; if [ -n "$$failed" ]; then echo "Failed:$$failed" >&2; exit 1; fi

bare: ## Both commands on bare Debian 12 and 13, as root and as a user; needs root and debootstrap (ONLY="trixie user demo")
	@tools/bare.sh $(ONLY)

lock: ## Write the lock files again from pyproject.toml (UPGRADE=1 takes newer versions)
	@tools/setup.sh dev
	$(lock) pyproject.toml --group build -o requirements.lock
	$(lock) pyproject.toml --group build --group dev -c requirements.lock -o requirements-dev.lock
	$(lock) pyproject.toml --group build --group dev --group bench -c requirements-dev.lock -o requirements-bench.lock
	$(lock) --group client -o requirements-client.lock

clean: ## Remove the virtual environment and every cache; data stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist src/*.egg-info
	find src tests proofs bench tools -name __pycache__ -type d -prune -exec rm -rf {} +
