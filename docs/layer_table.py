"""Prints docs/layers.md from what the layers' classes say of themselves: make layer-table."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the checkout that this lies in, whatever is installed

from converters.layers import LEFT_OUT, REGISTRY, layer_table
from repro.fast.graph import is_fast

HEAD = """\
# The layers

Made by `make layer-table` from what the layers' classes say of themselves. The source is the file in the `src/caffe/layers`
of the Caffe named, whose rules are kept. *Map*: crops and strides pass the layer. *PyTorch*: it can be written as PyTorch
source, and so as ONNX. *Fast*: `repro.accelerate` runs it. Each of the three may depend on the settings.

| layer | Caffe | what it does | notes | source | map | PyTorch | fast |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""


def page():
    """The page, as Markdown."""
    rows = ["| " + " | ".join(map(cell, cells(row))) + " |" for row in layer_table()]
    missing = [f"| `{name}` | {cell(why)} |" for name, why in LEFT_OUT.items()]
    return "\n".join([HEAD + "\n".join(rows), "\n## Left out\n", "| layer | why |\n| --- | --- |", *missing]) + "\n"


def cells(row):
    """The cells of one layer's row."""
    holds = row.mapped, row.written, is_fast(REGISTRY[row.type])
    return [f"`{row.type}`", row.origin, row.what, row.notes, f"`{row.source}`" if row.source else "",
            *("yes" if one else "" for one in holds)]


def cell(text):
    """Text as it may stand in a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
