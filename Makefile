# Two commands do the main job: `make run` and `make test`. `make help` lists the rest.

PYTHON  ?= python3
PROFILE ?= demo
VENV    := .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help install run up test lint format stages lock bench-ingest bench-quantize bench-search bench-train bench-gpu clean

help:  ## List the commands
	@echo "BBQRec: raw reviews in, a registered recommender out."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F'\t' '{printf "  make %-14s %s\n", $$1, $$2}'
	@echo
	@echo "  PROFILE=gift_cards chooses another profile; BBQREC_RAW names the folder of raw files."

install: $(STAMP)  ## Create .venv from requirements.lock (done by the others when needed)

# An environment whose creation was interrupted has no working pip: it is begun again. Everything after that goes on where it stopped.
# The lock pins uv too: pip installs that one package, hash checked, and uv the rest in a fraction of pip's time.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else f"Python 3.11 or newer is needed and this is {v}: make PYTHON=/path/to/python3.11 {sys.argv[1]}")' $(firstword $(MAKECMDGOALS))
	@echo "==> Creating $(VENV) from requirements.lock (about 7 GB with GPU libraries; minutes the first time)"
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(STAMP)
	@echo "==> Environment ready"

run: $(STAMP)  ## Run the whole pipeline on PROFILE (default: demo)
	@$(BIN)/bbqrec run $(PROFILE)

up: $(STAMP)  ## Start Prefect, MLflow and a worker on loopback, with the deployments
	@$(BIN)/bbqrec up

test: $(STAMP)  ## Run the test suite
	@echo "==> Running the test suite"
	@$(BIN)/python -m pytest $(TESTS)

lint: $(STAMP)  ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP)  ## Apply the formatter and the safe fixes
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format .

stages: $(STAMP)  ## Record the stages' sources for their versions
	@$(BIN)/python -m tasks.stage_sources

lock: $(STAMP)  ## Renew requirements.lock from pyproject.toml
	@$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 --no-header --upgrade --quiet -o requirements.lock
	@echo "==> requirements.lock renewed; the next make command installs it"

bench-ingest: $(STAMP)  ## Measure ingest at 1, 5 and 20 million lines (half an hour, 20 GB of disk)
	@$(BIN)/python -m benchmarks.ingest $(BENCH)

bench-quantize: $(STAMP)  ## Measure tokenizers beside one another, and a million new items (half an hour, 10 GB of memory)
	@$(BIN)/python -m benchmarks.quantize $(BENCH)

bench-search: $(STAMP)  ## Measure generative search beside transformers' T5, and on a million items (3 minutes)
	@$(BIN)/python -m benchmarks.search $(BENCH)

bench-train: $(STAMP)  ## Measure training beside SASRec and TIGER's T5 (a quarter of an hour)
	@$(BIN)/python -m benchmarks.train $(BENCH)

bench-gpu: $(STAMP)  ## Measure search and training steps on a GPU beside their floors (minutes; BENCH="--device cpu" tries it without)
	@$(BIN)/python -m benchmarks.gpu $(BENCH)

clean:  ## Remove the environment and caches; the artifacts in .bbqrec stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
