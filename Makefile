# Every command works from a clean clone and needs Python 3.11+ with venv, make and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= quickstart
MINUTES ?= 30
READER ?=
KILLS ?= 500

.PHONY: quickstart test frameworks browser check lint site docs-figures evidence dist-check lowest fuzz torture audit clean

quickstart: $(VENV)/.probes  ## embedded corpora -> probes -> fit -> plan -> report, on a CPU
	$(BIN)/cmrplan quickstart --out $(OUT)

test: $(VENV)/.test  ## every test, two at a time
	$(BIN)/python -m pytest -n 2 --dist worksteal

frameworks: $(VENV)/.test  ## reads exports back with each framework's own parser, and logs that their own loggers wrote, in environments of their own
	CMRPLAN_FRAMEWORKS=build/frameworks $(BIN)/python -m pytest -s tests/frameworks

browser: $(VENV)/.test  ## the report's page in a headless Chromium (Debian: chromium, chromium-driver)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[browser]'
	$(BIN)/python -m pytest -m browser tests/report

check: lint test  ## what a change must pass

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

site: $(VENV)/.site  ## the documentation in build/site; a warning, such as a link to nowhere, is an error
	$(BIN)/sphinx-build -W --keep-going -q -c docs/site . build/site

dist-check: $(VENV)/.dev  ## wheel and sdist, each installed into an empty environment and tried
	PYTHON="$(BIN)/python" .ci/dist-check

lowest:  ## tests of the library, without torch, with the lowest versions that pyproject.toml declares
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[parquet,baselines,tensorboard]'
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pytest hypothesis
	.venv-lowest/bin/python -m pytest -q -W default -p no:cacheprovider tests/laws tests/solve tests/log tests/plan tests/fit/test_fit.py tests/plots tests/export

docs-figures: $(VENV)/.test  ## what the commands of README and docs print and draw, anew (some minutes)
	$(BIN)/python tests/documented_commands.py

evidence: $(VENV)/.test  ## docs/evidence.md anew: how good the answers are, every figure below its command (about a quarter of an hour)
	$(BIN)/python benchmarks/evidence.py

fuzz: $(VENV)/.test  ## damaged files for every reader, or READER=csv, guided by what they reach, MINUTES of processor time each (Linux)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	$(BIN)/python tests/faults/guided.py --minutes $(MINUTES) $(if $(READER),--reader $(READER)) --keep fuzz-faults

torture: fuzz  ## the long form of tests/faults: KILLS kills of every writing command and 50 of a sweep (a quarter of an hour and fuzz)
	$(BIN)/python tests/faults/fuzz.py --cut --keep fuzz-faults
	$(BIN)/python tests/faults/fuzz.py --edit --minutes 5 --keep fuzz-faults
	$(BIN)/python tests/faults/torture.py --kills $(KILLS)
	$(BIN)/python benchmarks/faults.py --kills 50

audit: $(VENV)/.dev  ## known vulnerabilities of the pinned versions; asks a service on the network, so no part of check
	$(BIN)/python -m pip install --quiet --disable-pip-version-check pip-audit
	mkdir -p build && rm -f build/audit.json
	-$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off --format json --output build/audit.json 2>/dev/null
	$(BIN)/python .ci/audit build/audit.json

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

$(VENV)/.site: $(VENV)/.probes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[probes,site]'
	touch $@

clean:
	rm -rf $(VENV) .venv-lowest build
