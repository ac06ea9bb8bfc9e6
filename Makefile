# make demo   set up everything and run the whole chain on Shakespeare
# make test   set up everything and pass the tests
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   ?= demo-run

.PHONY: demo test lint clean
demo: $(VENV)/installed
	$(BIN)/nlpkit demo --dir $(DEMO)

test: $(VENV)/installed-dev lint
	$(BIN)/python -m pytest -n 2 --dist worksteal

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
