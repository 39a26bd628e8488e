# On a fresh machine: `make demo` or `make test` does all the set-up first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# A display of our own where there is none: napari draws with OpenGL.
DISPLAY_RUN := .ci/with-display
# One process of tests a processor, but memory for four at most, with one thread each:
# the networks of tests are too small to share out.
TEST_PROCESSES := --numprocesses logical --maxprocesses 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help env system demo lint format test bench notices clean

help:
	@echo "make demo    set up, then open napari with a sample volume and a starter model"
	@echo "make test    set up, then check style, types and import rules and run all tests"
	@echo "make lint    style, types and import rules only"
	@echo "make format  let ruff rewrite the code"
	@echo "make bench   print the benchmark tables"
	@echo "make env     set up only        make clean  remove what was built"

env: system $(STAMP)

system:
	@PYTHON="$(PYTHON)" .ci/system-packages

$(STAMP): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" .ci/make-venv $(VENV)
	@touch $@

demo: env
	$(BIN)/e2miseg demo

lint: env
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: env
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: lint
	OMP_NUM_THREADS=1 $(DISPLAY_RUN) $(BIN)/python -m pytest $(TEST_PROCESSES) $(PYTEST_ARGS)

bench: env
	$(BIN)/python -m benchmarks

notices: env
	$(BIN)/python tools/third_party_notices.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
