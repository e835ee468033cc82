# Verbs for people who like make; the work is in scripts/.
PYTHON = .venv/bin/python
MINUTES = 20
.PHONY: help build demo test lint bench soak asan fuzz mutations docs-check clean

help:        ## these lines
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1	/p' Makefile | expand -t 12
build:       ## .venv, the extension in place, everything the tests need
	scripts/setup test
	$(PYTHON) setup.py --quiet build_ext --inplace
demo:        ## see it work
	scripts/demo
test:        ## everything a change must pass
	scripts/test
lint:        ## style and types
	scripts/lint
bench: build ## speed, memory and latency beside nginx, HAProxy and Caddy
	$(PYTHON) -m benchmarks
soak: build  ## ten minutes of everything at once, and twenty git clients with 100 MiB
	$(PYTHON) -m tests.soak
	$(PYTHON) -m tests.soak.git --mib=100
asan: build  ## the chunker under AddressSanitizer and UndefinedBehaviorSanitizer
	tests/isolated/asan.sh $(PYTHON)
fuzz: build  ## parsers, chunker and express lane under the sanitizers, MINUTES=20
	tests/isolated/asan.sh $(PYTHON) -p tests.fuzz.again --minutes=$(MINUTES) --timeout=3600 \
		tests/chunker tests/wire tests/express tests/loop tests/fuzz
mutations: build ## does each rule of tests/conformance have a test that fails without it?
	$(PYTHON) -m tests.conformance.mutations
docs-check: build ## every command and configuration in the documents
	$(PYTHON) -m pytest tests/docs
clean:       ## remove what was made here
	rm -rf .venv build dist *.egg-info
	find fastproxy -name "*.so" -delete
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
