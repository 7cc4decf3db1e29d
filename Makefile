# The two commands:  make book   and   make test.  Both first build .venv from requirements.txt.

PYTHON ?= python3
BIN := .venv/bin
PORT ?= 8000

.PHONY: book pdf epub test test-browser core serve lab notebooks architecture lint bench bench-all clean

book: .venv/installed
	@$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	@echo "The book is built: open _build/html/index.html, or run 'make serve'."

# The book on paper.  LaTeX is not from Python: README.md names the packages.
pdf: .venv/installed
	@for tool in latexmk xelatex rsvg-convert; do command -v $$tool > /dev/null || { \
		echo "make pdf needs $$tool: see 'On paper' in README.md for the packages"; exit 1; }; done
	@LATEXMKOPTS=-silent LATEXOPTS=-interaction=nonstopmode \
		$(BIN)/jupyter-book build . --builder pdflatex -W -n --keep-going --quiet
	@! grep -E "undefined references|Missing character" _build/latex/alphafair.log
	@echo "The book is on paper: _build/latex/alphafair.pdf"

# From nothing, because what an earlier build left behind would go into the file.
epub: .venv/installed
	@rm -rf _build/epub
	@$(BIN)/jupyter-book build . --builder custom --custom-builder epub -W -n --keep-going --quiet
	@echo "The book is in one file: _build/epub/alphafair.epub"

test: .venv/installed
	@$(BIN)/pytest -q -n 2 --dist loadfile \
		--doctest-modules --nbval --nbval-current-env --nbval-cell-timeout=300 \
		--ignore tests/test_browser.py tests alphafair book

# Every page in a browser (Debian: chromium), with a table of what was looked at; six minutes.
test-browser: book
	@$(BIN)/pytest -q tests/test_browser.py

# The core with numpy alone, in an environment of its own.
core:
	@$(PYTHON) tests/numpy_alone.py

serve: book
	@echo "http://127.0.0.1:$(PORT)/   (Ctrl-C stops it)"
	@$(PYTHON) -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

# The chapters as notebooks, to play with.
lab: .venv/installed
	@test -x $(BIN)/jupyter-lab || { \
		echo "JupyterLab is not there: $(BIN)/pip install jupyterlab, then make lab again"; exit 1; }
	@$(BIN)/jupyter-lab book

# Run every notebook again and save its outputs; two runs give the same bytes.
notebooks: architecture
	@$(BIN)/python book/execute.py

# Draw the rooms of the package again: after a new module or import.
architecture: .venv/installed
	@$(BIN)/python book/architecture.py
	@$(BIN)/python book/command_page.py
	@$(BIN)/python book/chapter_map.py

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
