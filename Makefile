# Every target prepares the machine by itself (tools/prepare) and leaves its figures in build/<target>/summary.json.
# Larger targets live in tools/mk/*.mk; `make help` lists every target that carries a "## text".
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python

.PHONY: help build format lint test sanitize
help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

build: ## prepare the machine, compile the native part in place
	@tools/prepare build
	@tools/build

format: ## bring Python and C into the layout that lint wants
	@tools/prepare build
	@.venv/bin/ruff check --quiet --fix --select I . && .venv/bin/ruff format --quiet .
	@find native -name '*.[ch]' -print0 | xargs -0 .venv/bin/clang-format -i

lint: ## formatting, ruff, mypy --strict
	@tools/prepare build
	@tools/lint

# Fast to slow; the first failure ends the run.
test: ## every check that needs no CAN bus in the kernel: lint, C tests, Python tests (build/test/)
	@tools/prepare test
	@tools/test

sanitize: ## the C tests under address, undefined-behaviour and thread sanitizer
	@tools/prepare build
	@tools/test sanitize

include $(wildcard tools/mk/*.mk)
