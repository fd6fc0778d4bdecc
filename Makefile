# `make run` and `make test` start from nothing: they make .venv when it is missing or older than pyproject.toml.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# A process for each core, at most 4 (each takes 1 GB); ARGS="--numprocesses 0" runs all in one.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: run test test-all quick whole cuda lint clean

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

cuda: $(INSTALLED)  ## on a machine with an NVIDIA GPU: what the other tests can only stand in for, with measurements
	$(BIN)/python -m pip install --quiet --editable ".[dev,cuda]"
	-$(BIN)/gradtwin doctor  # says what does not fit together; the tests run all the same
	$(BIN)/python -m pytest -m cuda -rA -s $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## everything that make and the tests made; not the runs
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find scratch torch_ref compare tests -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "gradtwin needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@
