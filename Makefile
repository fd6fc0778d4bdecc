# `make run` and `make test` start from nothing: they make .venv when it is missing or older than pyproject.toml.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# How many processes "auto" is, tests/conftest.py says; ARGS="--numprocesses 0" runs all in one.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

# The tests start many processes: without bytecode each would compile everything again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test test-all test-processors test-oldest quick whole cuda fuzz mutants kills lint clean

run: $(INSTALLED)  ## the main job; options by ARGS="--dataset mnist --epochs 3"
	$(BIN)/gradtwin run $(ARGS)

test: $(INSTALLED)  ## lint, types and tests at the same time; without the long ones
	$(MAKE) --no-print-directory --jobs 2 lint quick

test-all: $(INSTALLED)  ## with the long ones, and on every kind of processor
	$(MAKE) --no-print-directory --jobs 2 lint whole
	$(MAKE) --no-print-directory test-processors

quick: $(INSTALLED)
	$(PYTEST) -m "not long" $(ARGS)

whole: $(INSTALLED)
	$(PYTEST) $(ARGS)

test-processors: $(INSTALLED)  ## the tests of whatever computes, as on other processors and with more threads
	$(BIN)/python -m tests.processors $(ARGS)

OLDEST ?= python3.11
test-oldest:  ## the tests with the lowest versions that pyproject.toml admits, in an environment of their own
	$(OLDEST) -m venv .venv-oldest
	pins=$$($(OLDEST) -m tests.oldest) && .venv-oldest/bin/python -m pip install --quiet --editable . $$pins
	.venv-oldest/bin/python -m pytest $(ARGS)

# The python at hand serves where it has what the tests need: such a machine may have no network to install from.
OUT ?= runs/cuda
cuda:  ## on a machine with an NVIDIA GPU: all that others can only stand in for, with measurements, in OUT=DIR
	@python=$(PYTHON); $(PYTHON) -c 'import cupy, hypothesis, pytest, pytest_timeout, torch, xdist' 2>/dev/null || { python=$(BIN)/python && \
	$(MAKE) --no-print-directory $(INSTALLED) && $$python -m pip install --quiet --editable ".[dev,cuda]"; } && \
	$$python -m tests.on_cuda --out "$(OUT)" $(ARGS)

fuzz: $(INSTALLED)  ## changed files for everything that reads one, guided by coverage where atheris installs
	$(BIN)/python -m pip install --quiet --editable ".[fuzz]" || echo "without atheris: the changes are drawn at random"
	$(BIN)/python -m tests.fuzz $(ARGS)

mutants: $(INSTALLED)  ## what the tests catch: random single edits, each against the tests that reach it
	$(BIN)/python -m tests.mutants $(ARGS)

kills: $(INSTALLED)  ## trainings killed at any moment, or inside a write: each must end bit for bit as an undisturbed one
	$(BIN)/python -m tests.kills $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## everything that make and the tests made; not the runs
	rm -rf .venv .venv-oldest build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find scratch torch_ref compare tests -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradtwin needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@
