# The one front door for every chore, the same here and in continuous integration.

PYTHON ?= python3.11
KILLS ?= 50
RECORDS ?= 1000000
# Processes that share the suite; a broker's tests wait for most of their time.
WORKERS ?= 3

VENV := .venv
BIN := $(VENV)/bin
RUNTIME := $(VENV)/.runtime
DEVELOP := $(VENV)/.develop

# Numba's cache notices neither an edit of a function that a kernel calls from another file nor the mode it
# compiles for: so each state of the sources, and each mode, has a cache of its own.
KERNEL_FREE := $(foreach room,state/rocksdb stream/drift stream/kafka stream/lineage,-not -path '$(room)/*')
SOURCES := $(shell find state stream serving -name '*.py' $(KERNEL_FREE) | sort | xargs cat | sha256sum | cut -c1-12)
export NUMBA_CACHE_DIR ?= $(CURDIR)/.cache/numba/$(SOURCES)
COMPILED := $(NUMBA_CACHE_DIR)/.compiled
CHECKED_CACHE_DIR := $(CURDIR)/.cache/numba-boundscheck/$(SOURCES)
CHECKED_COMPILED := $(CHECKED_CACHE_DIR)/.compiled
INTERPRETED_CACHE_DIR := $(CURDIR)/.cache/numba-interpreted/$(SOURCES)

export KILLS

KERNEL_TESTS := $(addsuffix .py,$(addprefix tests/unit/test_,als blend codec decode event_ids experts factors gramian \
	maps inner_product neighbour_rows kinds neighbours popularity prequential ranker ranking rating sampling sgd trace))
# Minutes when interpreted; test_maps and test_codec interpret the same kernels.
SLOW_INTERPRETED := tests/unit/test_factors.py
PYTEST := $(BIN)/python -m pytest -q
# File by file in their order, which has the long ones first.
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder
CHECKED := NUMBA_BOUNDSCHECK=1 NUMBA_OPT=1 NUMBA_CACHE_DIR=$(CHECKED_CACHE_DIR)
COMPILE := PYTHONPATH=. $(BIN)/python tests/support/compile_kernels.py
PROTOC := $(BIN)/python -m grpc_tools.protoc -I.
LOCK := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --python-version 3.11 \
	--no-header --no-emit-index-url --no-emit-find-links --extra build

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env demo quick test test-kernels crash fuzz bench check protos lock clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: $(DEVELOP) ## create .venv with everything that tests and checks need

demo: $(RUNTIME) ## watch it work: Kafka's protocol in, recommendations out, one process killed
	$(BIN)/livefactor demo

test: $(DEVELOP) ## all tests but the benchmarks; the kernel tests in numba's other modes too
	$(MAKE) --no-print-directory --jobs 2 $(COMPILED) $(CHECKED_COMPILED)
	$(PYTEST) $(PARALLEL) --ignore=tests/bench
	$(MAKE) --no-print-directory test-kernels

quick: check ## lint, types and the unit tests, in a minute
	$(PYTEST) $(PARALLEL) tests/unit -m "not slow"

test-kernels: $(CHECKED_COMPILED) ## the kernel tests with bounds checks, then interpreted
	$(CHECKED) $(PYTEST) $(PARALLEL) $(KERNEL_TESTS)
	NUMBA_DISABLE_JIT=1 NUMBA_CACHE_DIR=$(INTERPRETED_CACHE_DIR) $(PYTEST) $(PARALLEL) $(filter-out $(SLOW_INTERPRETED),$(KERNEL_TESTS))

crash: $(DEVELOP) ## kill the learner KILLS times (make crash KILLS=1000)
	$(PYTEST) --timeout=0 -o faulthandler_timeout=0 -rA tests/crash

fuzz: $(DEVELOP) ## feed RECORDS mutated records to the learner (make fuzz RECORDS=10000000)
	FUZZ_RECORDS=$(RECORDS) $(PYTEST) --timeout=0 tests/unit/test_fuzz.py

bench: $(DEVELOP) ## measure the figures, as ratios inside one run
	$(BIN)/python tests/bench/run.py

check: $(DEVELOP) ## lint, format, types, import directions, freshness of generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) tests/unit/test_architecture.py tests/unit/test_protos_fresh.py

protos: $(DEVELOP) ## generate the code of protos/*.proto
	$(PROTOC) --python_out=. --pyi_out=. protos/*.proto
	$(PROTOC) --grpc_python_out=. protos/admin.proto protos/drift.proto protos/scorer.proto

lock: | $(BIN)/uv ## resolve pyproject.toml anew into the hash-locked requirements files
	$(LOCK) pyproject.toml --output-file requirements.txt
	$(LOCK) --extra dev --constraint requirements.txt pyproject.toml --output-file requirements-dev.txt
	@! grep -nE '://|--index-url|--find-links' requirements.txt requirements-dev.txt

clean: ## remove everything that can be made again
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	rm -rf build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/uv: $(DEVELOP)

# Compiled once by one process: those that share the suite would each compile the same.
$(COMPILED): $(DEVELOP)
	$(COMPILE)
	@touch $@

$(CHECKED_COMPILED): $(DEVELOP)
	$(CHECKED) $(COMPILE)
	@touch $@

# Of the package itself only the entry point and the metadata are installed: the code stays where it is.
INSTALL_SELF := $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .

$(RUNTIME): requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.txt
	$(INSTALL_SELF)
	@touch $@

$(DEVELOP): requirements-dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements-dev.txt
	$(INSTALL_SELF)
	@touch $(RUNTIME) $@
