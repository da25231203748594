# Every target first makes .venv, with nothing but python3 and make.
# A machine without a GPU can spare the several-GB CUDA build of torch: make venv PIP_ARGS="..."
# (README.md, Installation).

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin

.PHONY: venv train-toy test test-all lint
venv: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt $(PIP_ARGS) '.[dev]'
	@touch $@

train-toy: venv  ## a student from scratch on the built-in pairs, in a minute on 2 cores
	$(BIN)/python train.py --scale toy-m --format reasoning

test: venv  ## under 4 minutes on 2 cores
	$(BIN)/python -m pytest -m "not slow"

test-all: venv  ## under 45 minutes on 2 cores
	$(BIN)/python -m pytest

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
