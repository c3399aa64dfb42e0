PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder --durations 15
DATA ?= ../shared/data
RESULTS := build/bench
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help install quickstart check test test-cluster test-all bench bench-full bench-compare docs wheel clean

help: ## show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

install: $(INSTALLED) ## create .venv and install the package with its development tools

quickstart: $(INSTALLED) ## run the built-in sweep and print where to look
	$(BIN)/neft-ray quickstart

check: $(INSTALLED) ## lint, types, architecture, what the pages say
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest tests/test_architecture.py tests/test_shipped.py tests/test_pages.py

test: $(INSTALLED) ## every test but those that take minutes each
	$(BIN)/pytest tests $(PARALLEL) -m "not slow and not cluster"

test-cluster: $(INSTALLED) ## the cluster files on throw-away hosts of this machine; needs root
	$(BIN)/pytest tests/cluster $(PARALLEL)

test-all: $(INSTALLED) ## every test that runs on two cores
	$(BIN)/pytest tests $(PARALLEL) -m "not cluster"

bench: $(INSTALLED) ## every benchmark but the whole sweep; DATA=folder with the 260K model and Alpaca
	mkdir -p $(RESULTS)
	set -e; for name in noise tracking checkpoint trial_start search; do \
		$(BIN)/python -m benchmarks.$$name --json $(RESULTS)/$$name.json; done
	for name in evaluation throughput; do \
		$(BIN)/python -m benchmarks.$$name --data $(DATA) --json $(RESULTS)/$$name.json || exit 1; done

bench-full: bench ## and a whole sweep against the stock script, growth, sharing, what a head carries
	$(BIN)/python -m benchmarks.end_to_end --data $(DATA) --json $(RESULTS)/end_to_end.json
	$(BIN)/python -m benchmarks.growth --json $(RESULTS)/growth.json --plot $(RESULTS)/growth.png
	$(BIN)/python -m benchmarks.sharing --json $(RESULTS)/sharing.json
	$(BIN)/python -m benchmarks.head --json $(RESULTS)/head.json

bench-compare: $(INSTALLED) ## ratios of the last `make bench` beside the kept ones
	$(BIN)/python -m benchmarks.compare benchmarks/results $(RESULTS)

docs: $(INSTALLED) ## build the site, docs/_build/index.html; a warning is an error
	$(BIN)/sphinx-build -E -a -W --keep-going -q docs docs/_build

wheel: $(INSTALLED) ## build dist/*.whl
	$(BIN)/python -m build --wheel

clean: ## remove what was built
	rm -rf $(VENV) build dist docs/_build *.egg-info
