# The commands of the project; `make` alone lists them. Python 3.11 or newer, make and git are all
# that the machine must have.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test test-long check up down setup lock claims bench console clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: setup  ## train MNIST for real on a local Ray cluster and verify the evidence
	@exec $(BIN)/python -m serve.cli demo

test: setup  ## the whole suite, with coverage
	@exec $(BIN)/python -m tests.run all

test-long: setup  ## the long campaigns: many kills, big clusters
	@exec $(BIN)/python -m tests.run long

check: setup  ## format, lint, types, layers, quick tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@exec $(BIN)/python -m tests.run quick

up: setup  ## start a service that stays
	@exec $(BIN)/zpctl up

down:  ## stop it
	@exec $(BIN)/zpctl down

claims: setup  ## derive every figure in README and docs again
	@exec $(BIN)/python -m benchmarks.claims

bench: setup  ## benchmarks, as ratios to peers measured in the same run
	@exec $(BIN)/python -m benchmarks

console: setup  ## build the web console again (needs Node 20; the built one is committed)
	@exec $(BIN)/python web/build.py

setup: $(STAMP)  ## the virtual environment, from the lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) deploy/environment.py $(VENV)

lock:  ## write requirements.lock again (needs uv)
	@uv pip compile pyproject.toml --extra service --extra compiler --extra kernels --extra png --extra nvidia --extra workers --group dev \
	  --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --custom-compile-command 'make lock' -q -o requirements.lock
