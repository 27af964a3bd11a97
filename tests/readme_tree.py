"""The README's tree, out of the first sentence of every room and file: `python -m tests.readme_tree` writes it anew."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1]
FOLDERS = ("flows", "tasks", "model", "warehouse")
BEGIN, END = "<!-- tree -->", "<!-- /tree -->"


def sentence(path: Path) -> str:
    """What a module says of itself: its first sentence, on one line."""
    told = (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0].replace("\n", " ")
    return re.split(r"(?<!et al)\. ", told)[0].rstrip(".")


def lines(folder: Path, depth: int = 0) -> Iterator[str]:
    """A folder, its files and its rooms."""
    indent = "  " * depth
    yield f"{indent + folder.name + '/':<28} {sentence(folder / '__init__.py')}"
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield f"{indent + '  ' + path.name:<28} {sentence(path)}"
    for room in sorted(path.parent for path in folder.glob("*/__init__.py")):
        yield from lines(room, depth + 1)


def tree() -> str:
    """The whole tree, as it stands in the README."""
    told = [line for folder in FOLDERS for line in lines(HOUSE / folder)]
    return "\n".join([BEGIN, "```", *told, "```", END])


def with_tree(readme: str) -> str:
    """The README with the tree of today."""
    before, _, rest = readme.partition(BEGIN)
    return before + tree() + rest.partition(END)[2]


if __name__ == "__main__":
    path = HOUSE / "README.md"
    path.write_text(with_tree(path.read_text("utf-8")), "utf-8")
