"""Execute notebooks in place and drop what differs between machines: ``python tutorials/execute.py [NOTEBOOK ...]``.

Needs the ``doc`` extra. Notebooks on real data read the folder that ``SCPERTURBRL_DATA`` names.
"""

from __future__ import annotations

import re
import sys
import time
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

HERE = Path(__file__).parent
NOISE = re.compile(r"^(findfont: .*|.*TqdmWarning: .*|  from .autonotebook import .*)\n", re.MULTILINE)
TEMPORARY = re.compile(r"\S*ipykernel_\d+/\d+\.py:\d+: ")


def smaller(png: str) -> str:
    """The same picture with a palette of 256 colours, which plots do not exceed by much, in a third of the bytes."""
    picture, file = Image.open(BytesIO(b64decode(png))), BytesIO()
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return min(png, b64encode(file.getvalue()).decode(), key=len)


def strip(notebook: Any) -> None:
    """Keep sources and outputs, pictures with fewer colours; drop times, counters and file names of the kernel."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"{number:02d}", {}
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = None
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
            if output.output_type == "stream":
                output.text = NOISE.sub("", TEMPORARY.sub("", output.text))
        cell.outputs = [output for output in cell.outputs if output.get("text", "some")]


def main(paths: list[Path]) -> None:
    """Execute each notebook where it lies, and tell how long it took."""
    for path in paths:
        began = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        resources = {"metadata": {"path": str(path.parent)}}
        NotebookClient(
            notebook,
            timeout=None,
            startup_timeout=600,
            kernel_name="python3",
            coalesce_streams=True,
            resources=resources,
        ).execute()
        strip(notebook)
        nbformat.write(notebook, path)
        sys.stdout.write(f"{path.name}: {time.perf_counter() - began:.0f} s\n")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]] or sorted(HERE.glob("*.ipynb")))
