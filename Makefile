# Every target makes and fills .venv by itself; nothing else is needed but Python 3.11-3.13 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

.PHONY: install demo test test-slow lint docs bench clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[cpu,foundation,dev,docs,slurm,tracking,sentences,h5]'
	touch $(STAMP)

demo: $(STAMP)
	$(BIN)/fewshot demo

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes of one thread each are faster than one of two; a file's tests stay in one process. Compiled
# modules are kept even where the environment forbids it: hundreds of child processes import the package.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest

test: lint
	$(PYTEST) -m "not slow" -n 2 --dist loadfile

test-slow: $(STAMP)
	$(PYTEST) -m slow -n 3 --dist loadfile --no-loadscope-reorder --durations 25

docs: $(STAMP)
	$(BIN)/python docs/site/build.py

bench: $(STAMP)
	$(BIN)/python bench/bench.py

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
