# The two commands:  make book   and   make test.  Both first build .venv from requirements.txt.

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8000

<<<<<<< HEAD
.PHONY: book test core serve notebooks architecture lint bench bench-all clean
=======
.PHONY: book test test-browser core serve notebooks architecture lint bench clean
>>>>>>> refs/heads/main

book: .venv/installed
	@$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "The book is built: open _build/html/index.html, or run 'make serve'."

test: .venv/installed
	@$(BIN)/pytest -q -n 2 --dist loadfile \
		--doctest-modules --nbval --nbval-current-env --nbval-cell-timeout=300 \
		--ignore tests/test_browser.py tests alphafair book

# Every page in a browser (Debian: chromium), with a table of what was looked at; a few minutes.
test-browser: book
	@$(BIN)/pytest -q -s tests/test_browser.py

# The core with numpy alone, in an environment of its own.
core:
	@$(PYTHON) tests/numpy_alone.py

serve: book
	@echo "http://127.0.0.1:$(PORT)/   (Ctrl-C stops it)"
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

# Run every notebook again and save its outputs; two runs give the same bytes.
notebooks: architecture
	@$(BIN)/python book/execute.py

# Draw the rooms of the package again: after a new module, import or first line of a docstring.
architecture: .venv/installed
	@$(BIN)/python book/architecture.py

lint: .venv/installed
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# The tables of benchmarks/RESULTS.md: `bench` takes some minutes, `bench-all` half an hour.
bench: .venv/installed
	@$(BIN)/python benchmarks/run.py --quick

bench-all: .venv/installed
	@$(BIN)/python benchmarks/run.py

clean:
	@rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/installed: requirements.txt pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed')"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing requirements.txt into .venv (a few minutes the first time) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
