"""The tables of who may do what, as `docs/authorisation.md` shows them.

`python -m tests.api.authorisation` writes it there; a test compares.
"""

from pathlib import Path

from agent.api.access import TABLE, Audited, Cell, Grant
from agent.api.fleet_routes import FLEET_ROUTES, MEMBER_ROUTES
from agent.api.routes import ROUTES
from agent.model.certificate import PEOPLE, Role
from tests.support.every_call import QUERIES

PAGE = Path(__file__).parents[2] / "docs/authorisation.md"
BEGIN, END = "<!-- the table, generated -->\n", "<!-- the end of the table -->\n"
BEGIN_PEERS = "<!-- the table of peers, generated -->\n"
PEERS = (Role.FRONT, Role.MEMBER)

WORDS = {
    Cell.GIVEN: "given",
    Cell.YES: "yes",
    Cell.FORBIDDEN: "403",
    Cell.ABSENT: "404",
    Cell.NOTHING: "none",
}
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
        "| call | " + " | ".join(f"{role}: own, another's" for role in PEOPLE) + " | reader | in the audit |",
        "| --- |" + " --- |" * len(PEOPLE) + " --- | --- |",
    ]
    for operation_id, call in calls.items():
        row = TABLE[operation_id]
        named = "_id}" in call or "{model}" in call or operation_id in QUERIES
        cells = [_words(row.grant(role), in_path=named) for role in PEOPLE]
        shareable = named and "{schedule_id}" not in call
        cells.append(WORDS[row.reader] if shareable else WORDS[Cell.NOTHING])
        call += " (also without a certificate)" if row.anybody else ""
        lines.append(f"| {call} | {' | '.join(cells)} | {AUDITED[row.audited]} |")
    return "\n".join(lines) + "\n"


def peers() -> str:
    """The table of what peers of a fleet may do."""
    routes = (*ROUTES, *FLEET_ROUTES, *MEMBER_ROUTES)
    calls = {route.operation_id: f"`{route.method} {route.path}`" for route in routes}
    lines = ["| call | front by itself | member by itself | on behalf of a user | in the audit |"]
    lines.append("| --- |" + " --- |" * 4)
    for operation_id, call in calls.items():
        row = TABLE[operation_id]
        alone = [_alone(row.grant(role)) for role in PEERS]
        through = ", ".join(sorted(row.through)) or "nobody"
        if (alone, through) != (["403", "403"], "front"):
            lines.append(f"| {call} | {' | '.join(alone)} | {through} | {AUDITED[row.audited]} |")
    return "\n".join(lines) + "\n"


def _alone(grant: Grant) -> str:
    if grant.own is not Cell.YES:
        return WORDS[grant.own]
    return "jobs of the fleet" if grant.others is Cell.GIVEN else "yes"


def _words(grant: Grant, *, in_path: bool) -> str:
    others = WORDS[grant.others]
    if grant.others is Cell.ABSENT and not in_path:
        others = LEFT_OUT
    return f"{WORDS[grant.own]}, {others}"


def page(text: str) -> str:
    """The page with the tables as they are now."""
    for begin, shown in ((BEGIN, table()), (BEGIN_PEERS, peers())):
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(END)
        text = f"{head}{begin}\n{shown}\n{END}{tail}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
