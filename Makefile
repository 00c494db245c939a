# Every target does its own set-up: Python 3.11 or newer and make are all that is needed.
# Set-up is done once; it is done again when pyproject.toml or constraints.txt changes.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= auto
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
QUICK := not slow and not gpu

# The test workers already fill the cores: one thread each.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo test test-slow lint format docs bench wheel clean distclean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18

setup: $(VENV)/.installed-dev ## create .venv with the package and the development tools

demo: $(VENV)/.installed-plots ## run the worked example on real data
	$(BIN)/python -m causalppl demo

test: $(VENV)/.installed-dev ## run the quick tests and the examples in docstrings
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "$(QUICK)"

test-slow: $(VENV)/.installed-dev ## run the tests marked slow, and gpu where there is one
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "slow or gpu"

lint: $(VENV)/.installed-dev ## check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs ## build the documentation, running its code and the tutorials
	$(BIN)/python docs/check_pages.py
	$(BIN)/python -m sphinx -W --keep-going -j auto -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: $(VENV)/.installed-dev ## run every benchmark
	@set -e; for file in benchmarks/[!_]*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

wheel: $(VENV)/.installed-dev ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean: ## remove what the other targets wrote, except .venv
	rm -rf build dist demo-output docs/_build docs/reference/generated docs/notebooks
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	rm -rf $(VENV)

# The stamp is written last, so an interrupted installation is taken up again.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(VENV)/.created
	@echo "Installing causalppl[$*] into $(VENV) (some minutes the first time) ..."
	@$(PIP_INSTALL) -e ".[$*]"
	@touch $@

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "found Python %d.%d; 3.11 or newer is needed; name one with: make PYTHON=python3.12" % sys.version_info[:2])'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@
