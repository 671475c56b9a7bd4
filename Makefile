# Commands for users and developers. `make demo` and `make test` need Python 3.11+ with pip and venv, and make.

PYTHON ?= python3
# Tests wait for servers and processes as much as they compute: more of them run at once than there are cores.
TEST_PROCESSES ?= 5
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
# uv does not read pip's settings; an index given to pip is meant for it too.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
export UV_LINK_MODE ?= copy

.DEFAULT_GOAL := help
.PHONY: help demo up test test-unit lint faults bench docs lock shell clean

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed  ## Load simulated bars, train and predict once
	@$(BIN)/hybrid-ml demo

up: $(VENV)/.installed  ## Start everything and keep it running until Ctrl-C
	@exec $(BIN)/hybrid-ml up

test: $(VENV)/.installed-dev  ## Run the tests, on a real PostgreSQL
	$(BIN)/python -m pytest -n $(TEST_PROCESSES)

test-unit: $(VENV)/.installed-dev  ## Run the tests that need no server
	$(BIN)/python -m pytest -n 2 tests/unit

lint: $(VENV)/.installed-dev  ## Style, types and allowed imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: $(VENV)/.installed-dev  ## Cause every fault, of which `make test` causes a sample, and print the results
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) -m "" tests/faults tests/pauses tests/operating tests/commands/test_bot.py

bench: $(VENV)/.installed-dev  ## Measure the cost of each part, as ratios (BENCH_FLAGS=--smallest: only whether it runs)
	@for benchmark in $$(grep -l __main__ bench/*.py); do $(BIN)/python $$benchmark $(BENCH_FLAGS) || exit 1; echo; done

docs: $(VENV)/.installed  ## Write docs/cli.md from the code, and docs/benchmarks.md from what was measured
	@$(BIN)/python docs/make_cli.py
	@$(BIN)/python docs/make_benchmarks.py

shell: $(VENV)/.installed  ## A shell in which python and hybrid-ml are this project's
	@. $(BIN)/activate && exec $${SHELL:-sh} -i

lock: $(VENV)/.uv  ## Resolve the dependencies again
	$(UV) compile pyproject.toml --universal --extra build --generate-hashes --no-emit-index-url --no-header \
		--quiet --upgrade --output-file requirements.lock
	$(UV) compile pyproject.toml --universal --extra build --extra dev --generate-hashes --no-emit-index-url --no-header \
		--quiet --upgrade --constraints requirements.lock --output-file requirements-dev.lock

clean:  ## Remove the environment; keep data and models
	rm -rf $(VENV) *.egg-info

$(VENV)/.uv: requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or newer is needed, not {sys.version}; say which with make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.uv requirements.lock pyproject.toml
	@echo "installing requirements.lock into $(VENV) (once)"
	@$(UV) install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements.lock
	@$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "installing requirements-dev.lock into $(VENV) (once)"
	@$(UV) install --quiet --python $(BIN)/python --require-hashes --compile-bytecode -r requirements-dev.lock
	@touch $@
