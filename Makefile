# Two commands do everything: `make serve` and `make test`. They need Python 3.11 or newer and make, nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PYTHONUNBUFFERED = 1

.DEFAULT_GOAL := help

help: ## Show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml clients/python/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "syncserver needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "This Python cannot make environments; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
	@touch $@

serve: $(READY) ## Run the server with its own PostgreSQL (flags: make serve ARGS="--port 9000")
	@$(BIN)/syncserver serve $(ARGS)

test: $(READY) ## Run all tests, three at a time
	$(BIN)/python -m pytest -n 3 --maxschedchunk 1 $(ARGS)

check: $(READY) ## Style, types, layers, docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/test_docs.py

format: $(READY) ## Put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

simulate: $(READY) ## 200 readers for 60 s against a live server; fails if anything is lost, repeated, out of order or different
	@$(BIN)/python tests/bench/readers.py $(ARGS)

soak: $(READY) ## 30 minutes of the same with PostgreSQL killed, links cut and clients stalled; fails if anything grows, too
	@$(BIN)/python tests/bench/readers.py --seconds 1800 --faults $(ARGS)

prove: $(READY) ## The proofs of docs/reliability.md in their long form, one after the other (about 50 minutes)
	$(BIN)/python tests/oracle/database.py --commits 25000 --comparisons 80000
	$(BIN)/python tests/oracle/control.py
	$(BIN)/python tests/oracle/clocks.py --rounds 300
	$(BIN)/python tests/faults/exactly_once.py --kills 500
	$(BIN)/python tests/faults/wire.py --runs 200 --clients 50
	$(BIN)/python tests/faults/fuzz.py --count 100000
	$(BIN)/python tests/faults/interleavings.py --seeds 1000
	SYNCSERVER_PROVE=1 $(BIN)/python -m pytest tests/e2e/test_client_machine.py tests/oracle/test_mutants.py tests/faults/test_mutants.py \
	  tests/api/test_every_answer_is_documented.py tests/faults/test_bulk_and_import.py --timeout 3600

bench: $(READY) ## Measure throughput and delay, each beside a baseline of the same run (5 minutes; needs a C compiler)
	@$(BIN)/python tests/bench/bench.py $(ARGS)

bench-full: $(READY) ## The same in full, written into docs/performance.md (25 minutes)
	@$(BIN)/python tests/bench/bench.py --full --docs $(ARGS)

migrate: $(READY) ## Bring the database up to date (yours: SYNCSERVER_OWNER_URL)
	@$(BIN)/syncserver migrate $(ARGS)

lock: ## Choose versions anew (for maintainers; needs uv)
	uv pip compile --quiet --universal --upgrade --generate-hashes --no-annotate --no-header --python-version 3.11 \
	  --extra dev pyproject.toml clients/python/pyproject.toml --no-emit-package syncserver-client -o requirements.lock

clean: ## Remove the environment and caches, never data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .bench
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help serve test check format simulate soak prove bench bench-full migrate lock clean
