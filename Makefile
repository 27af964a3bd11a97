# Two commands on a fresh machine: `make demo` and `make test`. Both make the environment first; both are safe to repeat.
# `make test-integration` has the tests with a server, Ray, an object store or a browser; `make test-all` the slow ones, too.
PYTHON ?= python3
ROOT ?= warehouse-data
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export RAY_USAGE_STATS_ENABLED = 0

PYTEST = .venv/bin/pytest --dist loadgroup --no-loadscope-reorder --durations 10 --numprocesses

.PHONY: demo test test-integration test-all check bench lock clean

demo: .venv/ready
	.venv/bin/valle demo --root $(ROOT)

test: .venv/ready
	$(PYTEST) 2 -m 'not slow and not integration'

test-integration: .venv/ready  # they wait for each other's processes: three on two cores
	$(PYTEST) 3 -m 'integration and not slow'

test-all: .venv/ready
	$(PYTEST) 2

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/ready
	.venv/bin/python -m bench

# requirements.lock pins all that pyproject.toml asks for; without it, these are the newest that are allowed.
.venv/ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --constraint requirements.lock --editable '.[dev,embedded,judges,lineage,moonshine,objects,tensorboard]'
	touch $@

# What is installed now, as the lock file.
lock:
	.venv/bin/pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu//' > requirements.lock

clean:
	rm -rf .venv build *.egg-info
