# `make run` and `make test` start from nothing: they make .venv when it is missing or older than pyproject.toml.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: run test test-processors cuda lint clean

run: $(INSTALLED)  ## the main job; options by ARGS="--dataset mnist --epochs 3"
	$(BIN)/gradtwin run $(ARGS)

test: lint
	$(BIN)/python -m pytest $(ARGS)

test-processors: $(INSTALLED)  ## the tests of whatever computes, as on other processors and with more threads
	$(BIN)/python -m tests.processors $(ARGS)

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
