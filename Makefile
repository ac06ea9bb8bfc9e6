# make demo   set up everything and run the whole chain on Shakespeare
# make test   set up everything and pass the tests; make test-all takes the long ones too
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= demo-run
# A file's tests share what they made, so they run in one worker; tests/conftest.py says which files come first.
XDIST  := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all lint clean
demo: $(VENV)/installed
	$(BIN)/nlpkit demo --dir $(DEMO)

test: $(VENV)/installed-dev lint
	$(BIN)/python -m pytest $(XDIST)

test-all: $(VENV)/installed-dev lint
	$(BIN)/python -m pytest $(XDIST) -m "slow or not slow"

lint: $(VENV)/installed-dev
	$(BIN)/ruff check nlpkit tests benchmarks
	$(BIN)/ruff format --check --quiet nlpkit tests benchmarks
	$(BIN)/mypy

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
	rm -rf $(DEMO) .mypy_cache .ruff_cache .pytest_cache build *.egg-info
