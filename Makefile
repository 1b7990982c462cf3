PYTHON ?= python3
BIN := .venv/bin
RUNS_TESTS := pytest pytest-xdist hypothesis packaging pymoo setuptools

.PHONY: quickstart test docs lowest

# The whole job on handwritten digits, in a few minutes: makes .venv, installs, trains, searches, fine-tunes, prints a table.
quickstart: .venv/installed
	$(BIN)/nasvit run experiments/quickstart.yaml

# Lint, types, tests, the wheel among them; the extras that tests need are installed first. SLOW=1 runs the slow tests too.
# A file stays with one process, so that what its tests share is made once. Types are checked beside the tests.
test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/mypy & types=$$!; OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile $(if $(SLOW),,-m "not slow"); \
	tests=$$?; wait $$types && exit $$tests

# The documentation as pages in site/; a link that leads nowhere is an error.
docs: .venv/installed-docs
	$(BIN)/mkdocs build --strict

# The tests on the oldest releases that setup.cfg admits, all together; PYTHON=python3.10 for the oldest Python, and
# RELEASES='torch==2.9.1 torchvision==0.24.1' for other releases of some of them.
lowest:
	$(PYTHON) -m venv .venv-lowest
	sed -n 's/^ *\([A-Za-z-]*\)>=\([0-9.]*\)$$/\1==\2/p' setup.cfg > .venv-lowest/lowest.txt
	.venv-lowest/bin/pip install -c .venv-lowest/lowest.txt -e '.[data]' $(RUNS_TESTS)
	$(if $(RELEASES),.venv-lowest/bin/pip install $(RELEASES))
	OMP_NUM_THREADS=1 .venv-lowest/bin/pytest -n 2 --dist loadfile -m "not slow"

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install -e '.[data,export,tasks,track,test]'
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/pip install -e '.[docs]'
	touch $@
