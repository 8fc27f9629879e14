# make demo    the whole pipeline on the demo's pictures, into runs/demo
# make test    the everyday tests, with coverage
# make test-all  the everyday tests and the slow ones
# make check   formatting, lint and types
# make docs    the API reference, into docs/index.html
# make bench   every benchmark of tools/benchmarks
# make help    these lines
#
# Each target makes the environment VENV (.venv) where it is missing, with PYTHON=/path/to/python and the versions of
# CONSTRAINTS (constraints.txt):
#
# make test VENV=.venv-2.21 PYTHON=python3.13 CONSTRAINTS=constraints-2.21.txt

# ensurepip: without it, as on a bare Debian, a venv comes without pip.
IN_RANGE := import sys, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))
# The first that runs: a version manager's shim can be on the PATH and still start nothing.
PYTHON ?= $(shell for name in python3.12 python3.11 python3.10 python3.13 python3; do \
	if $$name -c '$(IN_RANGE)' >/dev/null 2>&1; then echo $$name; break; fi; done)

VENV ?= .venv
CONSTRAINTS ?= constraints.txt

# Modules are handed out in the order of their names' list, whole: their fixtures are made once.
PYTEST = --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.PHONY: help demo test test-slow test-all check docs bench
.DELETE_ON_ERROR:

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/.installed
	$(VENV)/bin/ctxvision demo --out runs/demo

test: $(VENV)/.installed
	$(VENV)/bin/python -m slipcover --source ctxvision --json --out .coverage.json \
		-m pytest -m "not slow" $(PYTEST)
	$(VENV)/bin/python -m slipcover --merge .coverage.json --out .coverage.json --skip-covered --fail-under 90

test-slow: $(VENV)/.installed
	$(VENV)/bin/python -m pytest -m slow $(PYTEST)

test-all: test test-slow

check: $(VENV)/.installed
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy ctxvision

docs: $(VENV)/.installed
	@TF_CPP_MIN_LOG_LEVEL=2 $(VENV)/bin/python tools/docs.py docs
	@echo docs/index.html

bench: $(VENV)/.installed
	$(VENV)/bin/python -m pip install -q -c $(CONSTRAINTS) -e '.[bench]'
	@set -e; for script in tools/benchmarks/*.py; do echo "$$script"; $(VENV)/bin/python "$$script"; done

$(VENV)/.installed: setup.cfg constraints-common.txt $(CONSTRAINTS)
	@"$(PYTHON)" -c '$(IN_RANGE)' >/dev/null 2>&1 || \
		{ echo "ctxvision needs Python 3.10 to 3.13 with venv and pip, got '$(PYTHON)': name one with make PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q -c $(CONSTRAINTS) -e '.[demo,test,check,docs]'
	@touch $@
