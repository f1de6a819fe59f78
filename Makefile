# The commands of this repository. Each installs what it needs into .venv and starts nothing by hand.
# Needs: Linux, Python 3.11, GNU make, and a network that reaches the package registries.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# Tests and the stack start hundreds of processes: without kept bytecode each compiles what it imports, seconds for torch.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
INSTALLED := .venv/installed
CALLERS := .venv/callers/installed
BENCH_PEERS := .venv/peers/installed
AUDITOR := .venv/audit/installed
PROMTOOL := .venv/promtool
PHOTOGRAPHS := .venv/photographs/whole
FAKETIME := .venv/faketime
BENCH_RESULTS ?= benchmarks/results
STATE ?= .demo
# Unit tests in so many processes side by side, a file's tests together, each computing with one thread; 0: one process.
WORKERS ?= 2

.PHONY: help
help: ## List these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

# An environment that was moved, or whose Python is gone, is made anew.
ifneq ($(wildcard $(INSTALLED)),)
ifneq ($(shell $(BIN)/python -c "" 2>/dev/null && grep -qF "$(CURDIR)/.venv/" $(BIN)/amulet && echo whole),whole)
$(INSTALLED): broken
.PHONY: broken
broken: ; @echo "The environment in .venv does not belong here, or is broken: it is made anew." >&2
endif
endif

# pip and not another installer: one resolver, one lock, digests checked. --no-compile: the bytecode
# of what is never imported costs half a minute. PYTHONWARNINGS: setuptools warns of every editable
# installation.
$(INSTALLED): requirements.lock pyproject.toml client/pyproject.toml client/setup.py
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11 …" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 && grep -qF "$(CURDIR)/.venv" .venv/pyvenv.cfg || "$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python deploy/lock/install.py requirements.lock
	@PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e . -e ./client
	@touch $@

.PHONY: install
install: $(INSTALLED) ## Install everything into .venv

.PHONY: demo
demo: $(INSTALLED) ## Train, sign, serve and predict on this machine; stays up until Ctrl-C
	$(BIN)/amulet demo --state $(STATE)

.PHONY: demo-check
demo-check: $(INSTALLED) ## What `make demo` does, verified through the public interfaces, then shut down
	$(BIN)/amulet demo --state $(STATE) --check

.PHONY: dev
dev: $(INSTALLED) ## The stack, with its state in .amulet, for people who change it
	$(BIN)/amulet up --state .amulet

.PHONY: format
format: $(INSTALLED) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix --quiet .

.PHONY: lint
lint: $(INSTALLED) ## Format, lint and the import contracts, checked
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m protos.generate --check
	$(BIN)/python -m protos.compatibility

.PHONY: types
types: $(INSTALLED) ## One strict type checker, with Django's plugin
	$(BIN)/mypy protos model_store handlers gateway client/amulet_client training console cli

# Clients that are not ours need versions that our lock does not hold: an environment of their own.
$(CALLERS): tests/callers/requirements.lock | $(INSTALLED)
	test -x .venv/callers/bin/python || $(BIN)/python -m venv .venv/callers
	.venv/callers/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps -r $<
	touch $@

.PHONY: callers
callers: $(CALLERS) ## Install the third-party clients that tests call the gateway with

# What asks about known flaws is no part of what it asks about: an environment of its own, under a lock that is asked
# about, too. It brings the schemas of CycloneDX.
$(AUDITOR): deploy/supply/requirements.lock | $(INSTALLED)
	test -x .venv/audit/bin/python || $(BIN)/python -m venv .venv/audit
	.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps -r $<
	touch $@

.PHONY: auditor
auditor: $(AUDITOR) ## Install what asks about known flaws of packages

# AUDIT='--service osv' asks osv.dev, --url a service of yours that answers as it does.
.PHONY: audit
audit: $(AUDITOR) ## Ask what is known of every package of every lock; needs the network
	$(BIN)/python deploy/supply/audit.py $(AUDIT)

SBOM ?= amulet.cdx.json
.PHONY: sbom
sbom: $(INSTALLED) ## List every package, jar and weights file of .venv, into SBOM=amulet.cdx.json
	$(BIN)/python deploy/supply/sbom.py --lock requirements.lock --out $(SBOM)

# Prometheus' own check of alert rules. Where Debian's package cannot be had, the tests that need it say so and skip.
$(PROMTOOL): | $(INSTALLED)
	@command -v promtool >/dev/null || ! command -v apt-get >/dev/null || { mkdir -p $@; \
	    (cd $@; apt-get download -qq prometheus || { apt-get update -qq; apt-get download -qq prometheus; }; \
	    dpkg-deb --extract prometheus_*.deb .; rm prometheus_*.deb usr/bin/prometheus) >/dev/null 2>&1 || rm -rf $@; }

# A library that moves the wall clock of what runs under it. Where Debian's package cannot be had, the tests that need it
# say so and skip. After the one above: apt-get lets nobody in beside itself.
$(FAKETIME): | $(INSTALLED) $(PROMTOOL)
	@test -n "$$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null)" || ! command -v apt-get >/dev/null || { mkdir -p $@; \
	    (cd $@; apt-get download -qq libfaketime || { apt-get update -qq; apt-get download -qq libfaketime; }; \
	    dpkg-deb --extract libfaketime_*.deb .; rm libfaketime_*.deb) >/dev/null 2>&1 || rm -rf $@; }

# Photographs that broke parsers, collected by those who wrote ours, from Pillow's source package (47 MB, of which 59
# stay). pip looks at what a package is before it hands it over, so it builds that much. Where it cannot be had, the test
# that needs it says so and skips.
$(PHOTOGRAPHS): tests/photographs/requirements.lock | $(INSTALLED)
	@rm -rf $(@D); mkdir -p $(@D)
	@(cd $(@D) && ../bin/python -m pip download --quiet --disable-pip-version-check --no-deps --no-binary pillow \
	    --require-hashes -r ../../$< && tar -xzf pillow-*.tar.gz --strip-components=1 --wildcards '*/Tests/images/*' && \
	    rm pillow-*.tar.gz && touch whole) || { echo "The photographs of Pillow's tests could not be had." >&2; rm -rf $(@D); }

.PHONY: photographs
photographs: $(PHOTOGRAPHS) ## Bring the photographs that Pillow itself is tested with

INSTALLED_FOR_TESTS := $(CALLERS) $(AUDITOR) $(PROMTOOL) $(PHOTOGRAPHS) $(FAKETIME)
.PHONY: unit
unit: $(INSTALLED) $(filter-out $(FAKETIME),$(INSTALLED_FOR_TESTS)) ## Tests of single rooms
	$(if $(filter-out 0,$(WORKERS)),OMP_NUM_THREADS=1) $(BIN)/pytest tests/unit -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: integration
integration: ## Tests against a real TorchServe, PostgreSQL, Redis and RabbitMQ
	$(MAKE) --no-print-directory --keep-going integration-serving integration-console

SERVING := tests/integration/gateway tests/integration/torchserve
.PHONY: integration-serving
integration-serving: $(INSTALLED) ## Those of the gateway and of TorchServe
	$(BIN)/pytest $(SERVING)

# All that is not named above: a new folder is in one of the two.
.PHONY: integration-console
integration-console: $(INSTALLED) ## Those of the console, of commands and of whole stacks
	$(BIN)/pytest tests/integration $(addprefix --ignore ,$(SERVING))

# Debian's browser, where this may install it; elsewhere the tests say how to get one, and skip.
.PHONY: browser
browser: $(INSTALLED) ## The console in a real browser, in Thai and English
	@test -x /usr/bin/chromium || test -n "$${CHROMIUM:-}" || test "$$(id -u)" != 0 || ! command -v apt-get >/dev/null \
	    || (apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium >/dev/null)
	$(BIN)/pytest tests/browser

.PHONY: fault
fault: $(INSTALLED) $(FAKETIME) ## Processes killed and disks filled, against the whole stack
	$(BIN)/pytest tests/fault

# Figures are kept in the repository: tests/fault/results. 1,000 kills take an hour.
KILLS ?= 70
.PHONY: fault-long
fault-long: $(INSTALLED) $(FAKETIME) ## The same with KILLS=70 (or 1000) kills and a console that is away for a minute
	FAULT_KILLS=$$(( $(KILLS) / 5 )) FAULT_ROUNDS=$(KILLS) FAULT_LONG=1 FAULT_CONSOLE_DOWN_S=60 \
	FAULT_RESULTS=tests/fault/results $(BIN)/pytest tests/fault

# The figures are kept beside those of the kills.
RACES ?= 10000
.PHONY: races
races: $(INSTALLED) ## Photographs stored while their consent is withdrawn, RACES=10000 times on each database
	CONSENT_RACES=$(RACES) FAULT_RESULTS=tests/fault/results $(BIN)/pytest \
	tests/integration/console_events/test_events.py -k "consent_is_withdrawn or without_its_lock" --timeout 3600

ROUNDS ?= 200
.PHONY: false-alarms
false-alarms: $(INSTALLED) ## Drift of what did not change, ROUNDS=200 times a million answers; half an hour
	DRIFT_ROUNDS=$(ROUNDS) FAULT_RESULTS=tests/fault/results $(BIN)/pytest tests/unit/console/drift/test_false_alarms.py --timeout 3600

EXAMPLES ?= 2000
.PHONY: properties
properties: $(INSTALLED) ## What holds for every input, of EXAMPLES=2000 new ones each: the tests always take the same
	PROPERTY_EXAMPLES=$(EXAMPLES) $(BIN)/pytest $$(grep -lrE --include=*.py "from hypothesis(\.stateful)? import|chance\.seed\(" tests/unit tests/integration) --timeout 3600

# A process takes the next file when it has done one, so which files share a process is another in each run. What one of
# them leaves in it is found by an order that nobody has seen yet.
ORDER ?= $(shell date +%s)
.PHONY: orders
orders: $(INSTALLED) ## The unit tests' files in a new order; ORDER=1732999999 repeats one
	TEST_ORDER=$(ORDER) $(MAKE) --no-print-directory unit

# One process a kind of test: a failure in one names its kind, and no kind sees another's environment.
# Those with real servers wait more than they compute (integration 147 s of processor in 232 s, fault
# 94 in 292), so two of them run side by side; each prints when it has ended, and all of them run
# although one failed. The longest begins and the shortest is last (17, 12, 9 and 8 minutes), so that both end together.
# The type checker is one process and takes minutes, and what is installed waits for the network: side by side, too.
.PHONY: test
test: $(INSTALLED) ## Lint, types, import contracts and every test
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target types lint $(INSTALLED_FOR_TESTS)
	$(MAKE) --no-print-directory unit
	$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync=target integration-console fault browser integration-serving

.PHONY: docs
docs: $(INSTALLED) ## The five-minute start, typed as it is printed
	$(BIN)/pytest tests/docs

# LitServe and BentoML in an environment of their own: what they need is no part of our lock.
$(BENCH_PEERS): benchmarks/peers/requirements.lock | $(INSTALLED)
	test -x .venv/peers/bin/python || $(BIN)/python -m venv .venv/peers
	.venv/peers/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $<
	touch $@

.PHONY: peers
peers: $(BENCH_PEERS) ## Install the servers that Amulet is measured against

.PHONY: bench
bench: $(INSTALLED) $(BENCH_PEERS) ## Measure serving, peers included, the journal, inference and the console
	$(BIN)/amulet bench serving --json $(BENCH_RESULTS)/serving.json
	$(BIN)/python -m benchmarks.picture $(BENCH_RESULTS)/serving.json $(BENCH_RESULTS)/serving.svg
	$(BIN)/amulet bench overload --json $(BENCH_RESULTS)/overload.json
	$(BIN)/amulet bench stack --json $(BENCH_RESULTS)/stack.json
	$(BIN)/amulet bench journal --json $(BENCH_RESULTS)/journal.json
	$(BIN)/amulet bench inference --json $(BENCH_RESULTS)/inference.json
	$(BIN)/amulet bench console --json $(BENCH_RESULTS)/console.json

.PHONY: proto
proto: $(INSTALLED) ## Renew the stubs from the .proto files
	$(BIN)/python -m protos.generate

.PHONY: lock
lock: ## Renew requirements.lock (resolves on this machine)
	$(BIN)/python deploy/lock/renew.py

.PHONY: clean
clean: ## Remove the environment and what the demo made
	-$(BIN)/amulet down --state $(STATE)
	rm -rf .venv $(STATE) .mypy_cache .ruff_cache .pytest_cache
