"""Plants mistakes in the views, one at a time, and counts how many the type check catches.

    mistakes.py MODULES

MODULES is the folder of compiled modules that `swift build` leaves. A mistake that is not caught is listed:
it is one that only a Mac shows. Fails where fewer than 39 are caught, and where a mistake cannot be planted
any more.
"""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "Sources" / "MLJobApp"
LIST = Path(__file__).with_name("mistakes.tsv")
NEEDED = 39
COMPILE = [
    "swiftc",
    "-frontend",
    "-emit-sil",
    "-swift-version",
    "6",
    "-parse-as-library",
    "-module-name",
    "MLJobApp",
    "-o",
    "/dev/null",
]


@dataclass(frozen=True)
class Mistake:
    file: Path
    right: str
    wrong: str
    title: str


def mistakes() -> list[Mistake]:
    rows = [line.split("\t") for line in LIST.read_text().splitlines()[1:]]
    return [Mistake(SOURCES / f, r.replace("\\n", "\n"), w.replace("\\n", "\n"), t) for f, r, w, t in rows]


@cache
def plugins() -> str:
    """Where the compiler has its macros, such as @Observable."""
    told = subprocess.run(["swiftc", "-print-target-info"], capture_output=True, text=True, check=True)
    return str(Path(json.loads(told.stdout)["paths"]["runtimeResourcePath"], "host", "plugins"))


def compiles(file: Path, source: Path, modules: Path) -> tuple[bool, str]:
    """Compiles `file` alone, as the text of `source`, among the app's files. Emitting SIL checks actors."""
    others = [str(path) for path in sorted(SOURCES.rglob("*.swift")) if path != file]
    command = [*COMPILE, "-I", str(modules), "-plugin-path", plugins(), "-primary-file", str(source), *others]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    return done.returncode == 0, errors[0].split("error:")[1].strip() if errors else done.stderr[-500:]


def caught(mistake: Mistake, modules: Path) -> tuple[bool, str]:
    text = mistake.file.read_text()
    if mistake.right not in text:
        raise ValueError(f"{mistake.file.name} has no {mistake.right!r}")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / mistake.file.name
        source.write_text(text.replace(mistake.right, mistake.wrong, 1))
        is_right, words = compiles(mistake.file, source, modules)
    return not is_right, words


def main() -> int:
    modules, planted = Path(sys.argv[1]), mistakes()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file, (is_right, words) in zip(
            files := sorted({m.file for m in planted}),
            pool.map(lambda f: compiles(f, f, modules), files),
            strict=True,
        ):
            if not is_right:
                print(f"{file.name} does not compile without a mistake: {words}")
                return 1
        found = list(pool.map(lambda mistake: caught(mistake, modules), planted))
    for mistake, (is_caught, words) in zip(planted, found, strict=True):
        print(f"{'caught' if is_caught else 'MISSED'}  {mistake.title}" + (f": {words}" if is_caught else ""))
    count = sum(is_caught for is_caught, _ in found)
    print(f"{count} of {len(planted)} mistakes caught, {NEEDED} needed")
    return 0 if count >= NEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
