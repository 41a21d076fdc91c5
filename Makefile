# The verbs of the project. All work without root and keep to .venv and .talweg.

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(BIN)/python
# ONCE=1: end after the first batch's table, with exit status 0 only if every job succeeded.
ONCE :=
DATA := .talweg
BATCH := client/examples/diabetes_losses.yaml
# Four processes on two cores, since tests wait for programs that they have started. Tests of one module
# share their fixtures, so they stay together. tests/conftest.py keeps modules together that share a stack,
# and puts the longest first. The tests start hundreds of programs, each of which would compile the whole
# source if none could keep its byte code.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -q -n 4 --dist loadscope \
	--no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help run test quick interop check proto audit bench faults study clean

help:
	@echo 'make run      start everything and train a first batch (ONCE=1: stop after its table)'
	@echo 'make test     run the tests'
	@echo 'make quick    run the tests nearest to what has changed, in under a minute'
	@echo 'make interop  call a server with grpcurl, buf and Node; needs npm'
	@echo 'make check    lint, types, imports, generated code'
	@echo 'make proto    generate code and pages from the .proto files, and the client for asyncio'
	@echo 'make audit    look pinned versions up among known vulnerabilities, and write build/sbom.cdx.json'
	@echo 'make bench    measure speed, and write the table'
	@echo 'make faults   kill parts of a stack, try random specs and requests, train what takes long; takes minutes'
	@echo 'make study    train on real data files of other packages, simulate comparisons, and print tables; downloads 63 MB'
	@echo 'make clean    remove .venv, .talweg and caches'

run: $(VENV)/installed-all
	@$(BIN)/talweg up --data $(DATA) --submit $(BATCH) $(if $(filter-out 0 no false,$(ONCE)),--once)

test: $(VENV)/installed-dev
	@$(PYTEST) -m 'not faults'

quick: $(VENV)/installed-dev
	@$(PYTHON) -m tests.quick

interop: $(VENV)/installed-dev
	@$(PYTHON) -m tests.interop

faults: $(VENV)/installed-dev
	@$(BIN)/pytest -q -m faults

check: $(VENV)/installed-dev
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(PYTHON) proto/generate.py --check
	@$(PYTHON) client/make_asyncio.py --check
	@$(PYTHON) deploy/constraints.py --check
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy

proto: $(VENV)/installed-dev
	@$(PYTHON) proto/generate.py
	@$(PYTHON) client/make_asyncio.py

audit: $(VENV)/installed-dev
	@$(PYTHON) deploy/audit.py

bench: $(VENV)/installed-dev
	@$(PYTHON) -m tests.benchmarks

study: $(VENV)/installed-dev
	@$(PYTHON) -W ignore -m tests.studies.own_data
	@$(PYTHON) -m tests.studies.answers 1000
	@$(PYTHON) -m tests.studies.sessions 200

clean:
	rm -rf $(VENV) .talweg .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp tells what is installed; it is made anew when the requirements change.
$(VENV)/installed-%: pyproject.toml constraints.txt deploy/install.sh deploy/requirements.py
	@sh deploy/install.sh $(VENV) $*
	@touch $@
