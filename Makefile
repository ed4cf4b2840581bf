# Everything from a machine that has only Python (>= 3.11, with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FOR_DOCS := $(VENV)/.installed-docs
OUT ?= demo
MUTANTS ?= 100000

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# One thread a worker: more only wait for each other. A worker more than cores, as some tests wait.
WORKERS = $$(($$(getconf _NPROCESSORS_ONLN) + 1))
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

.PHONY: demo test test-fast fuzz check chromium compiled bench bench-gpu readme docs dist clean help

help:
	@echo "make demo   train, measure, prune and compare on ECG5000; writes $(OUT)/report.html"
	@echo "make test   check and the whole test suite"
	@echo "make test-fast  the tests of single functions and of properties, without checks"
	@echo "make fuzz   reads $(MUTANTS) damaged files of every format; fails on a traceback or a hang"
	@echo "make check  formatting, lint, types and the direction of imports"
	@echo "make bench  speed beside the peers; writes benchmarks/RESULTS.md"
	@echo "make bench-gpu  the same of an accelerator; writes benchmarks/GPU.md"
	@echo "make readme regenerate the table and picture of docs/demo.md from the demo"
	@echo "make docs   the documentation as a site, site/index.html"
	@echo "make dist   sdist and wheel, checked"

# `compiled` compiles it beside the checks.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "prunable needs Python >= 3.11; say which: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/prunable demo --out $(OUT)

check: $(INSTALLED)
	$(BIN)/ruff format --check src tests benchmarks tools
	$(BIN)/ruff check src tests benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports

# The browser tests need Chromium; where it can be installed without asking, it is.
chromium:
	@sh tools/ensure_chromium.sh

# Tests start hundreds of processes, which may not be allowed to keep what they compile. Some
# packages hold files of newer Pythons, which fail.
compiled: $(INSTALLED)
	@$(BIN)/python -m compileall -qq $(VENV)/lib src tests || true

# Types take one core, compiling the other, Chromium the network.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory --jobs=3 check chromium compiled
	$(PYTEST)

test-fast: $(INSTALLED)
	$(PYTEST) tests/unit tests/property

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz $(MUTANTS) --jobs $$(getconf _NPROCESSORS_ONLN)

bench: compiled
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,bench]'
	$(BIN)/python -m pytest benchmarks --benchmark-json=benchmarks/.latest.json
	$(BIN)/python benchmarks/summarise.py benchmarks/.latest.json benchmarks/RESULTS.md

bench-gpu: $(INSTALLED)
	$(BIN)/python benchmarks/gpu.py --out benchmarks/GPU.md

readme: demo
	$(BIN)/python tools/readme.py $(OUT) docs/demo.md

$(FOR_DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

docs: $(FOR_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the site is site/index.html"

dist: $(INSTALLED)
	$(BIN)/python -m pip install --quiet build twine
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf $(VENV) $(OUT) build dist site
