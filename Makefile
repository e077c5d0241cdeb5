# Every command works from a clean clone and needs Python 3.11+ with venv, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= quickstart

.PHONY: quickstart test frameworks browser check lint clean

quickstart: $(VENV)/.probes  ## embedded corpora -> probes -> fit -> plan -> report, on a CPU
	$(BIN)/cmrplan quickstart --out $(OUT)

test: $(VENV)/.test  ## every test, two at a time
	$(BIN)/python -m pytest -n 2 --dist worksteal

frameworks: $(VENV)/.test  ## reads exports back with each framework's own parser, in environments of their own
	CMRPLAN_FRAMEWORKS=build/frameworks $(BIN)/python -m pytest -s tests/frameworks

browser: $(VENV)/.test  ## the report's page in a headless Chromium (Debian: chromium, chromium-driver)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	$(BIN)/python -m pytest -m browser tests/report

check: lint test  ## what a change must pass

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cmrplan needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.probes: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[probes]'
	touch $@

$(VENV)/.test: $(VENV)/.probes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[probes,test]'
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[probes,test,dev]'
	touch $@

clean:
	rm -rf $(VENV)
