# Everything runs in .venv with the exact versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Files, not single tests, are shared out among the cores: tests of a file share what they prepare.
PARALLEL := --numprocesses auto --dist loadfile --no-loadscope-reorder
STAMP := $(VENV)/.installed

.PHONY: train test quick venv check format clean

train: venv  ## Train on the embedded dataset, evaluate, show what was learned
	$(BIN)/yolo fit --config configs/quickstart.yaml

test: venv  ## The whole test suite
	$(BIN)/python -m pytest $(PARALLEL)

quick: venv  ## The tests a developer runs at every change
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow"

venv: $(STAMP)  ## Create .venv with pinned installs

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $(STAMP)

check: venv  ## Lint, format check, types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: venv  ## Rewrite in the house format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build dist
