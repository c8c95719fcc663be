# Strata: set up, try, test. Needs Python 3.11 or later and make; everything else is installed into .venv.
#   make demo    set up, start a local Kafka, worker and ClickHouse writer, play sample streams (Ctrl-C stops)
#   make test    set up, lint, types, tests

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow oracles lint types lock clean
SHELL := /bin/sh

VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; PYTHON=/path/to/python chooses one.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)
UV := $(shell uv --version >/dev/null 2>&1 && echo uv)
PACKAGES := schemas models streams sinks deploy

help:
	@sed -n '1,/^$$/s/^# //p' Makefile
	@echo '  make setup   .venv with the locked dependencies and the command .venv/bin/strata'
	@echo '  make lint, make types, make lock (dependencies anew, needs uv), make clean (removes .venv)'

setup: $(VENV)/.installed $(VENV)/.broker

$(VENV)/.installed: requirements.lock pyproject.toml
	@if [ -z '$(PYTHON)' ] || ! '$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		echo "error: Python 3.11 or later is needed, found: $$('$(or $(PYTHON),python3)' --version 2>&1 | head -n 1). Install one, or name it: make setup PYTHON=/path/to/python3" >&2; exit 1; fi
	@'$(PYTHON)' -c 'import venv, ensurepip' 2>/dev/null || [ -n '$(UV)' ] || { \
		echo "error: $(PYTHON) has no venv module (on Debian and Ubuntu it is in the package python3-venv)" >&2; exit 1; }
	@echo 'setting up $(VENV): locked dependencies, some minutes the first time'
ifeq ($(UV),uv)
	@[ -x $(BIN)/python ] || uv venv --quiet --python "$$('$(PYTHON)' -c 'import sys; print(sys.executable)')" $(VENV)
	uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements.lock
	uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
else
	@[ -x $(BIN)/pip ] || '$(PYTHON)' -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	@touch $@

# The broker's jars; without a network the first start fetches them.
$(VENV)/.broker: $(VENV)/.installed deploy/local/kafka_jars.txt
	@if $(BIN)/python -m deploy.local.broker --prepare; then touch $@; else \
		echo 'the broker is not fetched yet: the first start tries again' >&2; fi

demo: setup
	$(BIN)/strata demo

test: setup lint types
	@$(BIN)/python -m tests.console.browser || true
	$(BIN)/python -m pytest -m 'not slow and not gpu'

# What takes longer: stock Faust's losses, the long invariance test.
test-slow: setup
	$(BIN)/python -m pytest -m slow

# Drift and expected accuracy against Evidently and NannyML, in an environment of their own (some GB, minutes the first time); not part of `make test`.
ORACLES := .venv-oracles
oracles: setup $(ORACLES)/.installed
	$(BIN)/python -m tests.oracles.ours $(ORACLES)/figures.json
	NML_DISABLE_USAGE_LOGGING=1 DO_NOT_TRACK=1 $(ORACLES)/bin/python -W ignore tests/oracles/theirs.py $(ORACLES)/figures.json

$(ORACLES)/.installed: tests/oracles/requirements.txt
	@[ -x $(ORACLES)/bin/python ] || '$(PYTHON)' -m venv $(ORACLES)
	$(ORACLES)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/oracles/requirements.txt
	@touch $@

lint: setup
	$(BIN)/ruff check $(PACKAGES) tests

types: setup
	$(BIN)/mypy $(PACKAGES)

lock:
	uv pip compile pyproject.toml --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --extra dev --quiet -o requirements.lock

clean:
	rm -rf $(VENV) *.egg-info build .mypy_cache .ruff_cache .pytest_cache
