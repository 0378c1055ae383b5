"""The documentation's own rules: lines fit, links lead somewhere, and named files exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COLUMNS = 120

LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
FILE = re.compile(r"`((?:[a-z_-]+/)+[A-Za-z0-9_@.-]+\.(?:py|json|toml|container|sh|md|txt|sql|build))`")


def each_page() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The numbered lines of a page outside of fenced and indented code."""
    fenced = False
    for number, line in enumerate(page.read_text("utf-8").splitlines(), start=1):
        if line.startswith("```"):
            fenced = not fenced
        elif not fenced and not line.startswith("    "):
            yield number, line


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub makes anchors of them."""
    headings = (line.lstrip("#") for _, line in prose(page) if line.startswith("#"))
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@each_page()
def test_lines_fit(page: Path) -> None:
    """Rows of tables cannot be broken."""
    wide = [
        number for number, line in prose(page) if len(line) > COLUMNS and not line.lstrip().startswith("|")
    ]
    assert wide == []


@each_page()
def test_links_lead_to_a_page_and_a_heading(page: Path) -> None:
    dangling = []
    for number, line in prose(page):
        for target in LINK.findall(line):
            name, _, anchor = target.partition("#")
            file = (page.parent / name).resolve() if name else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                dangling.append(f"{number}: {target}")
    assert dangling == []


@each_page()
def test_named_files_exist(page: Path) -> None:
    """Relative to the repository, or to the package: `jobs/registry.py`."""
    missing = set()
    for _, line in prose(page):
        for name in FILE.findall(line):
            places = [place for place in (ROOT, ROOT / "agent") if (place / name.split("/")[0]).is_dir()]
            if places and not any((place / name).exists() for place in places):
                missing.add(name)
    assert missing == set()


def test_every_page_is_reachable_from_the_readme() -> None:
    linked = {target.partition("#")[0] for _, line in prose(PAGES[0]) for target in LINK.findall(line)}
    assert {f"docs/{page.name}" for page in PAGES[2:]} <= linked


def test_listings_in_swift_are_the_clients_own_lines() -> None:
    sources = [path.read_text("utf-8") for path in (ROOT / "client/Sources").rglob("*.swift")]
    listings = [
        part.strip("\n")
        for page in PAGES
        for block in re.findall(r"```swift\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
        for part in block.split("// …\n")
    ]
    assert len(listings) >= 5
    assert [part for part in listings if not any(part in source for source in sources)] == []
