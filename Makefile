# metaspo: `make demo` runs the main job from nothing, `make test` the tests. Needs Python 3.11+ and make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ADAPTERS := .cache/adapters/bin
# Not for slow tests that measure, or that end processes by the clock.
PARALLEL := -n auto --dist worksteal
ARGS   ?=
# Compiled code is kept, also of what pytest rewrites, where the environment would have none in the tree.
ifdef PYTHONDONTWRITEBYTECODE
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(CURDIR)/.cache/compiled
endif

.PHONY: help adapters demo check quick test test-slow test-model lint types simulate mutants known-truth calibration vllm-check constraints clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[local,bench,redis,report,dev]'
	@touch $@ $(VENV)/.run

demo: $(VENV)/.run  ## optimize a system prompt against a real model on this machine (ARGS=--small for less)
	@$(BIN)/metaspo demo $(ARGS)

check: $(VENV)/.dev  ## lint, types and the quick tests, in about a minute
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint types quick

quick: $(VENV)/.dev
	$(BIN)/pytest -q $(PARALLEL) -m "not slow and not model and not whole" $(ARGS)

test: $(VENV)/.dev  ## lint, types and the default tests
	@$(MAKE) --no-print-directory lint types
	$(BIN)/pytest -q $(PARALLEL) $(ARGS)

test-slow: $(VENV)/.dev  ## the tests that take long, and the property tests with draws of their own each time
	$(BIN)/pytest -q $(PARALLEL) -m "slow and not alone" $(ARGS)
	$(BIN)/pytest -q -m "slow and alone" $(ARGS)
	$(BIN)/pytest -q $(PARALLEL) -m "hypothesis and not slow and not model" --hypothesis-profile=random $(ARGS)

$(ADAPTERS)/.ready: pyproject.toml constraints-adapters.txt | $(BIN)/python
	$(BIN)/python -m venv $(dir $(ADAPTERS))
	$(ADAPTERS)/python -m pip install --quiet --disable-pip-version-check -c constraints-adapters.txt langchain-openai langchain-tests langfuse \
	  pytest pytest-asyncio pytest-timeout hypothesis -e '.[dspy,gepa,inspect,langchain,litellm,mipro,mlflow,promptolution,ray,redis,report,tensorboard,textgrad,wandb]'
	@touch $@

adapters: $(ADAPTERS)/.ready  ## adapters, exports, trackers and a Ray cluster, all with the real packages, in an environment of their own (1 GB in .cache)
	@! command -v npm >/dev/null || npm install --silent --no-audit --no-fund --prefix .cache/adapters/promptfoo nunjucks
	$(ADAPTERS)/pytest -q tests/test_adapters_*.py tests/test_cluster_ray.py tests/test_exchange_packages.py tests/test_track_packages.py $(ARGS)

test-model: $(VENV)/.dev  ## the tests that need the embedded model (fetched at first use)
	$(BIN)/pytest -q -m model $(ARGS)

lint: $(VENV)/.dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy --strict, tests included
	@$(BIN)/python tools/link_types.py
	$(BIN)/mypy -p metaspo
	$(BIN)/mypy tests tools

simulate: $(VENV)/.dev  ## the whole engine on virtual time against servers with faults, 5,000 seeds (ARGS="--seed 7 --verbose": one)
	$(BIN)/python tools/simulate.py $(if $(ARGS),$(ARGS),--seeds 5000)

mutants: $(VENV)/.dev  ## break the code line by line and see which tests notice (ARGS="cache --sample 40", docs/mutants.md)
	$(BIN)/python tools/mutants.py $(ARGS)

known-truth: $(VENV)/.dev  ## every strategy in a world whose truth is known, 20 seeds
	$(BIN)/python tools/known_truth.py $(if $(ARGS),$(ARGS),--seeds 20)

calibration: $(VENV)/.dev  ## how sure intervals and verdicts are, by simulation (ARGS=--quick: under a minute)
	$(BIN)/python tools/calibration.py $(ARGS)

vllm-check: $(VENV)/.run  ## run against a real vLLM on this CPU, no GPU (3 GB into .venv-vllm; ARGS="--restart --grouping" for all of it)
	$(BIN)/python tools/vllm_check.py $(ARGS)

constraints: $(VENV)/.dev $(ADAPTERS)/.ready  ## pin what is installed now
	$(BIN)/python -m pip freeze --disable-pip-version-check --exclude-editable > constraints.txt
	$(ADAPTERS)/python -m pip freeze --disable-pip-version-check --exclude-editable > constraints-adapters.txt

clean:  ## remove what the set-up made
	rm -rf $(VENV) .types .mypy_cache .pytest_cache .ruff_cache .hypothesis build *.egg-info
