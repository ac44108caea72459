# make demo   set everything up and run the demo grid on the embedded data set
# make test   set everything up and run lint, types and tests
# make ray    set everything up and run the tests on a real Ray cluster of this machine
# make oracle set everything up (another virtual environment) and compare aggregation rules with Flower's and ByzFL's
# make docs   set everything up and build the documentation into site/, strictly
# make faults set everything up, kill running grids in the pool and on Ray thirty times each, and fill disks
# make bench  set everything up and measure the simulator's speed on this machine
# make gpu    set everything up and, on a GPU, check that results agree and measure everything (ten minutes)
# make lint | types | unit   parts of it, once .venv is there

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ORACLE := .venv-oracle
# One thread a process: two threads on a busy core are far slower than one (docs/results.md).
export OMP_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export OMP_WAIT_POLICY := PASSIVE
# nproc takes a limit on threads for the number of cores.
WORKERS := $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || echo 2)

.PHONY: demo test docs faults bench gpu ray oracle lint types unit clean

demo: $(VENV)/.installed
	$(BIN)/clipfed-bench grid --preset demo

test: lint types unit

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed
	$(BIN)/mypy

# Tests start many processes, each of which else compiles the package where a machine writes no bytecode by itself.
unit: $(VENV)/.installed
	$(BIN)/python -m compileall -q -j $(WORKERS) clipfed_bench attacks baselines partitions architectures data_sets
	$(BIN)/pytest -n $(WORKERS) --dist worksteal -m "not ray"

# Ray's nodes give up when a busy machine keeps them waiting, so these are run by themselves.
ray: $(VENV)/.installed
	$(BIN)/pytest -m ray

# Two large libraries, pinned, that nothing else needs: tests/oracle/README.md.
oracle: $(ORACLE)/.installed
	FLWR_TELEMETRY_ENABLED=0 $(ORACLE)/bin/pytest --override-ini python_files='check_*.py' tests/oracle

faults: $(VENV)/.installed
	$(BIN)/pytest tests/faults/disks.py
	$(BIN)/python tests/faults/harness.py --kills 30
	$(BIN)/python tests/faults/harness.py --kills 30 --executor ray

bench: $(VENV)/.installed
	$(BIN)/clipfed-bench bench --json results/runs/bench/bench.json --markdown results/runs/bench/bench.md

gpu: $(VENV)/.installed
	$(BIN)/python tests/gpu/check.py results/runs/gpu

docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	DISABLE_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(ORACLE)/.installed: pyproject.toml tests/oracle/requirements.txt
	$(PYTHON) -m venv $(ORACLE)
	$(ORACLE)/bin/python -m pip install --quiet --upgrade pip
	$(ORACLE)/bin/python -m pip install --quiet --editable . --requirement tests/oracle/requirements.txt
	touch $@

clean:
	rm -rf $(VENV) $(ORACLE) build dist site .mypy_cache .pytest_cache .ruff_cache *.egg-info
