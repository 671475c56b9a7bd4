# The few things people do here. `make demo` and `make test` need Python 3.11+ with pip and venv, and make.

PYTHON ?= python3
# Tests wait for servers and processes more than they compute: more of them run at once than there are cores, two of
# which mostly sleep (tests/pauses).
TEST_PROCESSES ?= 6
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip
# uv does not read pip's settings; an index given to pip is meant for it too.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
export UV_LINK_MODE ?= copy

.DEFAULT_GOAL := help
.PHONY: help demo up test lint faults bench docs lock shell clean

help:  ## Show what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed  ## Do the main job once on simulated bars
	@$(BIN)/hybrid-ml demo

up: $(VENV)/.installed  ## Start everything and keep it going until Ctrl-C
	@exec $(BIN)/hybrid-ml up

test: $(VENV)/.installed-dev  ## Run the tests, on a real PostgreSQL
	$(BIN)/python -m pytest -n $(TEST_PROCESSES)

lint: $(VENV)/.installed-dev  ## Style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

faults: $(VENV)/.installed-dev  ## Do what may go wrong, and print what happened
	$(BIN)/python -m pytest tests/faults

bench: $(VENV)/.installed-dev  ## Print what things cost, as ratios
	@for each in start bars features fine_tuning analysis alerts latency growth training replay day rules experiments adapters drift scale; do $(BIN)/python bench/$$each.py || exit 1; echo; done

docs: $(VENV)/.installed  ## Write docs/cli.md, the reference of every command, from the code
	@$(BIN)/python docs/make_cli.py

shell: $(VENV)/.installed  ## A shell in which python and hybrid-ml are this project's
	@. $(BIN)/activate && exec $${SHELL:-sh} -i

lock: $(VENV)/.uv  ## Resolve the dependencies anew
	$(UV) compile pyproject.toml --universal --extra build --generate-hashes --no-emit-index-url --no-header \
		--quiet --upgrade --output-file requirements.lock
	$(UV) compile pyproject.toml --universal --extra build --extra dev --generate-hashes --no-emit-index-url --no-header \
		--quiet --upgrade --constraints requirements.lock --output-file requirements-dev.lock

clean:  ## Remove the environment; data and models stay
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
