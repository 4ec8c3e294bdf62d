# `make demo` and `make test` are the two main commands; each first creates .venv and installs the dependencies.
PYTHON ?= python3
UV_VERSION := 0.13.9
LOCK := cluster/requirements.lock
BIN := .venv/bin

# Workers of Ray are new processes: where bytecode is not kept, each compiles every module that it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-fast test-long lint format setup lock

demo: setup  ## run the whole product on a drawn archive, or on ARCHIVE=/path/to/COVID-19_Radiography_Dataset
	@$(BIN)/python jobs/demo.py $(if $(ARCHIVE),--archive "$(ARCHIVE)")

test: setup  ## every test but the long ones; those of one file that start Ray run in one process, and share its cluster
	@$(BIN)/python -m pytest -m "not long" -n logical --maxprocesses 8 --dist loadfile --no-loadscope-reorder

test-fast: setup  ## run the tests that take seconds and need no Ray cluster
	@$(BIN)/python -m pytest -m "not slow and not cluster" -n logical --maxprocesses 8 --dist loadfile

test-long: setup  ## the tests of clusters that take minutes each, one after the other
	@$(BIN)/python -m pytest -m long

lint: setup  ## check with ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: setup  ## fix what ruff can fix
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

setup: .venv/.installed  ## create .venv with the locked dependencies

.venv/.installed: $(LOCK) pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "cxr_ray needs Python >= 3.11; choose one that is installed, for example: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r $(LOCK)
	# as a line of sys.path: by setuptools' default, a clone named cxr_ray in the current folder would hide the package
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --config-settings editable_mode=compat -e .
	@touch $@

lock: setup  ## resolve the dependencies of pyproject.toml again
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade --all-extras pyproject.toml -o $(LOCK)
