"""Prints docs/layers.md from what the layers' classes say of themselves: make layer-table."""

from converters.layers import LEFT_OUT, layer_table

HEAD = """\
# The layers

Made by `make layer-table` from the layers' docstrings. The source is the file in Caffe's `src/caffe/layers` whose rules are
kept.

| layer | what it does | notes | source |
| --- | --- | --- | --- |
"""


def page():
    """The page, as Markdown."""
    rows = [f"| `{row.type}` | {cell(row.what)} | {cell(row.notes)} | {f'`{row.source}`' if row.source else ''} |"
            for row in layer_table()]
    missing = [f"| `{name}` | {cell(why)} |" for name, why in LEFT_OUT.items()]
    return "\n".join([HEAD + "\n".join(rows), "\n## Left out\n", "| layer | why |\n| --- | --- |", *missing]) + "\n"


def cell(text):
    """Text as it may stand in a cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(page(), end="")
