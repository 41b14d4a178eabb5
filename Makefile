# estiba: what a developer types. `make` alone says what there is.
PYTHON ?= python3
IMAGE ?=
VENV := .venv
PIP := $(VENV)/bin/pip --disable-pip-version-check --quiet
SOURCES := setup.py pyproject.toml MANIFEST.in README.md $(shell find src helper -name '_bin' -prune -o -name '__pycache__' -prune -o -type f -not -name '*.o' -print)

.PHONY: help demo test soak bench validate lint clean

help:
	@echo 'make demo            takes images apart into layers, stores each once, runs a container from the stack'
	@echo 'make demo IMAGE=...  the same on an image of the registry, for example IMAGE=alpine'
	@echo 'make test            sets everything up and runs all tests'
	@echo 'make soak            repeats the tests that throw dice as often as they are meant to be'
	@echo 'make lint            formats, types, layers of imports, generated files, documentation'
	@echo 'make bench           measures against the container engines of this machine, writes bench/results/'
	@echo 'make validate        runs the checks of opencontainers/runtime-tools on runc, crun and estiba; needs root and Go'
	@echo 'make clean           removes what these made'
	@echo 'PYTHON=python3.12    chooses another interpreter'

demo: $(VENV)/installed
	@tests/setup/packages demo
	@ESTIBA=$(VENV)/bin/estiba sh tools/demo.sh $(IMAGE)

test: $(VENV)/installed-test
	@tests/setup/packages test
	$(VENV)/bin/python -m pytest $(PYTEST)

soak: $(VENV)/installed-test
	@tests/setup/packages test
	ESTIBA_SOAK=1 $(VENV)/bin/python -m pytest -m soak $(PYTEST)

lint: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest tests/lint -p no:randomly

bench: $(VENV)/installed-test
	@tests/setup/packages test bench
	$(PIP) install '.[bench]'
	$(VENV)/bin/python -m bench

validate: $(VENV)/installed-test
	@tests/setup/packages test bench
	$(VENV)/bin/python tools/validate_runtime.py

# The package is installed as its users install it: built into a wheel, the command `estiba` beside the interpreter.
$(VENV)/installed: $(SOURCES) | $(VENV)/bin/python
	@tests/setup/packages build
	@rm -rf build
	$(PIP) install .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) install '.[test]'
	@touch $@

$(VENV)/bin/python:
	@tests/setup/packages python
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist src/estiba/_bin src/*.egg-info bench/results .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	$(MAKE) -C helper clean
