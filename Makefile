# make demo   set up everything and run the whole chain on Shakespeare
# make test   set up everything and pass the tests; make test-all takes the long ones too
# make wheel  dist/*.whl with compiled kernels; built twice, it is the same bytes
# make soak   feed thousands of mutated files to every command that reads one
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= demo-run
# A file's tests share what they made, so they run in one worker; tests/conftest.py says which files come first.
XDIST  := -n 2 --dist loadfile --no-loadscope-reorder

LEVELS := x86-64-v3 x86-64-v4

.PHONY: demo test test-all soak lint kernels wheel clean
demo: $(VENV)/installed kernels
	$(BIN)/nlpkit demo --dir $(DEMO)

test: $(VENV)/installed-dev lint kernels
	$(BIN)/python -m pytest $(XDIST)

test-all: $(VENV)/installed-dev lint kernels
	$(BIN)/python -m pytest $(XDIST) -m "not soak"

# Thousands of files with wrong content behind right digests, through every command that reads one.
soak: $(VENV)/installed-dev kernels
	$(BIN)/python -m pytest $(XDIST) -m soak tests/artifact/test_fuzz.py

lint: $(VENV)/installed-dev
	$(BIN)/ruff check nlpkit tests benchmarks
	$(BIN)/ruff format --check --quiet nlpkit tests benchmarks
	$(BIN)/mypy

# Compiling again only what changed; for this processor's level.
kernels: $(VENV)/installed
	$(BIN)/python -m nlpkit.machine.build

# Files have the same modes whatever the umask of whoever checked them out.
wheel: $(VENV)/installed-dev
	$(BIN)/python -m nlpkit.machine.build $(LEVELS)
	rm -rf build dist
	chmod -R u+rwX,go=rX nlpkit
	umask 022; SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-315532800} \
		$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

# Installing anew only when the project's own files about installing changed.
$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(DEMO) .mypy_cache .ruff_cache .pytest_cache build dist *.egg-info
