# featx from a checkout. Every target sets up what it needs: `make extract classify` is enough.
#
#   make extract classify                          the embedded sample, no network needed
#   make extract classify DATA=photos SHOTS=20,100 your own folder of class folders

DATA      ?= digits
BACKBONES ?= mobilenet
POOLING   ?= avg
HEADS     ?= linear_svc,logreg,mlp
NETS      ?= simple_cnn,small_cnn
RECIPE    ?= small-backbones
SHOTS     ?= all
# The embedded sample must work without a network; photos deserve real weights.
WEIGHTS   ?= $(if $(filter digits,$(DATA)),auto,imagenet)
ARGS      ?=
# Processes that run tests; each may take 3 GB.
WORKERS   ?= 2

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help install extract classify baseline report run test format check docs faults clean

help:  ## Show this list
	@awk -F':.*## ' '/^[a-z%-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo "  Variables: DATA= BACKBONES= POOLING= HEADS= NETS= SHOTS= WEIGHTS= RECIPE= ARGS= (lists take commas)"

$(STAMP): setup.cfg pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "featx needs Python 3.11 or newer; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --quiet --editable '.[openvino,tensorflow,jax,ray,s3,gs,compression,parquet,dev]'
	@touch $@

install: $(STAMP)  ## Create .venv and install featx into it

extract: $(STAMP)  ## Run the backbones over DATA once and cache the features
	$(BIN)/featx extract '$(DATA)' --backbone '$(BACKBONES)' --pooling '$(POOLING)' --weights '$(WEIGHTS)' $(ARGS)

classify: $(STAMP)  ## Fit and compare HEADS on the cached features
	$(BIN)/featx classify '$(DATA)' --backbone '$(BACKBONES)' --pooling '$(POOLING)' --weights '$(WEIGHTS)' --head '$(HEADS)' --shots '$(SHOTS)' $(ARGS)

baseline: $(STAMP)  ## Train NETS from scratch on the images, to hold the heads against
	$(BIN)/featx baseline '$(DATA)' --net '$(NETS)' --shots '$(SHOTS)' $(ARGS)

report: $(STAMP)  ## Write the runs on DATA as one page: report/report.html
	$(BIN)/featx report '$(DATA)' $(ARGS)

run: $(STAMP)  ## Run RECIPE, an experiment as a file, on DATA; see featx list recipes
	$(BIN)/featx run '$(RECIPE)' $(if $(filter-out file,$(origin DATA)),--data '$(DATA)') $(ARGS)

test: $(STAMP)  ## Run all tests
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

format: $(STAMP)  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(STAMP)  ## Lint, type-check, and check the installed packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pip check

docs: $(STAMP)  ## Write the reference pages, docs/commands.md and docs/api.md, anew
	$(BIN)/python docs/generate.py

bench-%: $(STAMP)  ## Run one benchmark: heads, extract, store, decode, cluster, scale; tables go to benchmarks/results
	$(BIN)/python benchmarks/bench_$*.py $(ARGS)

faults: $(STAMP)  ## Kill, flip, truncate and fill disks for real; count what is lost
	$(BIN)/python benchmarks/bench_faults.py $(ARGS)

clean:  ## Remove the virtual environment, build products and tool caches (features/ and runs/ stay)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
