"""The house's figures: how large its files, classes and functions are, and whether its wings form circles.

    python -m tests.house [REVISION ...]

prints a column for the working tree and one for each revision. Lines are physical lines; a file's own
docstring and imports count. An import circle between wings is counted once for each group of wings.
"""

import ast
import io
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
LONG_FILE = 400
LONG_CLASS = 300
LONG_FUNCTION = 60

Files = Mapping[PurePosixPath, str]


def working_tree() -> Files:
    """The Python files of `agent` and `tests` as they are now."""
    return {
        PurePosixPath(path.relative_to(ROOT)): path.read_text("utf-8")
        for part in ("agent", "tests")
        for path in (ROOT / part).rglob("*.py")
    }


def revision(name: str) -> Files:
    """The same files of a commit. Raises `CalledProcessError` where git does not have it."""
    archive = subprocess.run(
        ["git", "archive", name, "agent", "tests"], cwd=ROOT, stdout=subprocess.PIPE, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = [member for member in tar if member.isfile() and member.name.endswith(".py")]
        return {PurePosixPath(each.name): tar.extractfile(each).read().decode() for each in members}  # type: ignore[union-attr]


def figures(files: Files) -> dict[str, int | float]:
    """Each figure by its name."""
    trees = {path: ast.parse(text) for path, text in files.items()}
    house = {path: tree for path, tree in trees.items() if path.parts[0] == "agent"}
    lengths = {path: files[path].count("\n") for path in house}
    filled = [lines for lines in lengths.values() if lines]  # a wing's empty __init__ says nothing
    functions = list(_lengths(house, ast.FunctionDef | ast.AsyncFunctionDef))
    beside = [path for path in house if len(path.parts) == 2 and path.name != "__init__.py"]
    return {
        "modules in agent/ itself": len(beside),
        f"files over {LONG_FILE} lines": sum(lines > LONG_FILE for lines in filled),
        f"classes over {LONG_CLASS} lines": sum(each > LONG_CLASS for each in _lengths(house, ast.ClassDef)),
        f"functions over {LONG_FUNCTION} lines": sum(lines > LONG_FUNCTION for lines in functions),
        "median lines of a file": statistics.median(filled),
        "median lines of a function": statistics.median(functions),
        "import circles between wings": circles(house),
        "lines of agent/": sum(filled),
        "assert statements in tests/": sum(
            isinstance(node, ast.Assert)
            for path, tree in trees.items()
            if path.parts[0] == "tests"
            for node in ast.walk(tree)
        ),
    }


def _lengths(trees: Mapping[PurePosixPath, ast.Module], kind: type | object) -> Iterator[int]:
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, kind):  # type: ignore[arg-type]
                yield node.end_lineno - node.lineno + 1  # type: ignore[attr-defined]


def circles(house: Mapping[PurePosixPath, ast.Module]) -> int:
    """How many groups of wings import each other, directly or through others."""
    arrows: dict[str, set[str]] = {}
    for path, tree in house.items():
        here = _wing(path.parts[1:])
        arrows.setdefault(here, set()).update(_imported_wings(path, tree, house) - {here, ""})
    count = 0
    while True:
        try:
            TopologicalSorter(arrows).prepare()
        except CycleError as error:
            count += 1
            circle = set(error.args[1])
            arrows = {wing: others - circle for wing, others in arrows.items() if wing not in circle}
        else:
            return count


def _imported_wings(
    path: PurePosixPath, tree: ast.Module, house: Mapping[PurePosixPath, ast.Module]
) -> set[str]:
    wings = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = path.parts[: len(path.parts) - node.level] if node.level else ()
            module = (*base, *(node.module or "").split(".")) if node.module else base
            for alias in node.names:
                name = (*module, alias.name)
                if name[0] == "agent" and len(name) > 1:
                    wings.add(_wing(name[1:]) if PurePosixPath(*name[:2]) != path else "")
    known = {_wing(path.parts[1:]) for path in house}
    return wings & known


def _wing(parts: tuple[str, ...]) -> str:
    """A folder of `agent`, or a module beside the folders."""
    return parts[0].removesuffix(".py").replace("__init__", "")


def main(revisions: list[str]) -> None:
    """Prints the table."""
    columns = {name: figures(revision(name)) for name in revisions} | {"now": figures(working_tree())}
    width = max(map(len, figures(working_tree())))
    print(" " * width, *(f"{name[:10]:>10}" for name in columns))
    for figure in next(iter(columns.values())):
        print(f"{figure:<{width}}", *(f"{column[figure]:>10g}" for column in columns.values()))


if __name__ == "__main__":
    main(sys.argv[1:])
