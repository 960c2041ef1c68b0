# Everything that people and CI run, written once; tox.ini and .ci/run call these targets.
SHELL := /bin/bash
PYTHON ?= .venv/bin/python
BASE_PYTHON ?= python3
ROOMS := metrics protocol simulator datasets benchmarks reference_model human_eval leaderboard slurm
JOBS ?= 2

.PHONY: help setup demo test lint types architecture unit slow gpu docs measurements bench package clean

help:
	@echo "make demo     set up, score the baselines and write a report to look at"
	@echo "make test     set up, then lint, types, architecture, tests, docs"
	@echo "make bench    the speed benchmarks    make slow   coverage simulations and the like"

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	@$(BASE_PYTHON) -c 'import sys; sys.exit("dojobench needs Python 3.11 or newer; name one with BASE_PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(BASE_PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --upgrade pip
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

# mypy and import-linter walk a package's folder, which an editable install has not:
# .lint/dojobench is that folder, made of links into the rooms.
.lint: Makefile
	@rm -rf .lint && mkdir -p .lint/dojobench
	@for f in src/dojobench/*; do ln -s ../../$$f .lint/dojobench/; done
	@for room in $(ROOMS); do ln -s ../../$$room .lint/dojobench/$$room; done

ifeq ($(PYTHON),.venv/bin/python)
unit lint types architecture slow gpu docs bench package demo: setup
endif

lint:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: .lint
	MYPYPATH=.lint $(PYTHON) -m mypy --explicit-package-bases -p dojobench

architecture: .lint
	PYTHONPATH=.lint $(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

# One thread a worker: workers that spin on each other's cores take many times as long.
unit:
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) tests

slow:
	$(PYTHON) -m pytest -m slow tests

demo:
	$(PYTHON) -m dojobench.cli demo --out demo

# The speed benchmarks of the harness itself; one process, or they would time each other.
bench:
	DOJOBENCH_HARNESS=1 $(PYTHON) -m pytest -p no:xdist -o addopts="--import-mode=importlib -ra" \
		--benchmark-only --benchmark-columns=min,median,iqr,rounds benchmarks/harness
	DOJOBENCH_REFERENCE=1 $(PYTHON) -m pytest -p no:xdist -o addopts="--import-mode=importlib -ra" \
		--benchmark-only --benchmark-columns=min,median,iqr,rounds benchmarks/reference

# Links, and every Python block of the docs.
docs:
	$(PYTHON) -m pytest -q tests/docs -k 'links or parses'

# One page of all measurements, from the parts that are kept beside what they measure.
MEASURED := scoring agreement decoding harness intervals dojo-metrics known-bad dojo dojo-suites \
	report wire reference-model tokenizer training-data distillation preferences study-server nano reproduction \
	leaderboard-site audit
measurements:
	@{ cat docs/measurements.d/HEAD; for part in $(MEASURED); do \
		echo; cat docs/measurements.d/$$part.md; done; } > docs/measurements.md

gpu:
	$(PYTHON) -m pytest -m gpu tests
	$(PYTHON) benchmarks/reference/gpu_speed.py

package:
	$(PYTHON) -m build --outdir dist .

test: lint types architecture unit docs

clean:
	rm -rf .lint build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
