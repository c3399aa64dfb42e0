"""Runs notebooks/finished_sweep.ipynb on the newest run of a folder and keeps its outputs.

`python tools/notebook.py FOLDER`, where FOLDER holds `runs/`; pictures are kept in few colours.
"""

import base64
import io
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

NOTEBOOK = Path(__file__).parents[1] / "notebooks/finished_sweep.ipynb"
NUM_COLOURS = 48
WIDTH_PIXELS = 800


def run(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Execute a notebook in a folder, from its first cell on.

    Raises:
        nbclient.exceptions.CellExecutionError: With the traceback of the cell that failed.
    """
    settings = {"metadata": {"path": str(folder)}}
    executed: nbformat.NotebookNode = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=settings
    ).execute()
    return executed


def main(folder: Path) -> None:
    """Execute the notebook and write it back with its outputs."""
    notebook = run(nbformat.read(NOTEBOOK, as_version=4), folder)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        for output in cell.get("outputs", ()):
            pictures = output.get("data", {})
            if "image/png" in pictures:
                pictures["image/png"] = _smaller(pictures["image/png"])
    notebook.metadata.pop("language_info", None)  # of the machine that ran it
    nbformat.write(notebook, NOTEBOOK)


def _smaller(png: str) -> str:
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.thumbnail((WIDTH_PIXELS, 10 * WIDTH_PIXELS))
    buffer = io.BytesIO()
    picture.quantize(NUM_COLOURS, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
