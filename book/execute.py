"""Run the notebooks of the book from top to bottom and save them with their outputs.

    python book/execute.py             all of them
    python book/execute.py closed*.ipynb   some of them (patterns relative to book/)

Two runs give the same bytes: no timings, fixed metadata, cell ids that count.
"""

import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

BOOK = Path(__file__).parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
os.environ["TQDM_DISABLE"] = "1"  # a progress bar is an output that differs from run to run
KEPT = ("tags", "mystnb")  # what a cell's metadata is for; editors add the rest


def execute(path: Path) -> None:
    """Run one notebook in place; an error in a cell that is not tagged for it stops everything."""
    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = {key: cell.metadata[key] for key in KEPT if key in cell.metadata}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(BOOK)}},
    ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:  # a traceback names the files of this machine: keep its last line
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = [f"{output.ename}: {output.evalue}"]
    nbformat.write(notebook, path)


def main() -> None:
    """Execute the notebooks named on the command line."""
    paths = sorted({path for pattern in sys.argv[1:] or ["*.ipynb"] for path in BOOK.glob(pattern)})
    for number, path in enumerate(paths, 1):
        print(f"[{number}/{len(paths)}] {path.name}", flush=True)
        execute(path)


if __name__ == "__main__":
    main()
