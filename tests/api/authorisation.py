"""The table of who may do what, as `docs/authorisation.md` shows it.

`python -m tests.api.authorisation` writes it there; a test compares.
"""

from pathlib import Path

from agent.api.access import TABLE, Audited, Cell, Grant
from agent.api.routes import ROUTES
from agent.model.certificate import Role

PAGE = Path(__file__).parents[2] / "docs/authorisation.md"
BEGIN, END = "<!-- the table, generated -->\n", "<!-- the end of the table -->\n"

WORDS = {Cell.YES: "yes", Cell.FORBIDDEN: "403", Cell.ABSENT: "404", Cell.NOTHING: "none"}
LEFT_OUT = "left out"  # in a list, of what is 404 by itself
AUDITED = {
    Audited.NOTHING: "",
    Audited.DEED: "every one",
    Audited.LOOK: "of another's",
}


def table() -> str:
    """The table in Markdown, in the order of the routes."""
    calls = {route.operation_id: f"`{route.method} {route.path}`" for route in ROUTES}
    calls["getOpenapi"] = "`GET /openapi.json`"
    lines = [
        "| call | " + " | ".join(f"{role}: own, another's" for role in Role) + " | in the audit |",
        "| --- |" + " --- |" * len(Role) + " --- |",
    ]
    for operation_id, call in calls.items():
        row = TABLE[operation_id]
        cells = [_words(row.grant(role), in_path="{job_id}" in call) for role in Role]
        call += " (also without a certificate)" if row.anybody else ""
        lines.append(f"| {call} | {' | '.join(cells)} | {AUDITED[row.audited]} |")
    return "\n".join(lines) + "\n"


def _words(grant: Grant, *, in_path: bool) -> str:
    others = WORDS[grant.others]
    if grant.others is Cell.ABSENT and not in_path:
        others = LEFT_OUT
    return f"{WORDS[grant.own]}, {others}"


def page(text: str) -> str:
    """The page with the table as it is now."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
