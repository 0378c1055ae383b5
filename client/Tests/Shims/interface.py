"""Swift module interfaces: their public declarations, in a form in which two of them can be compared."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MODULES = (
    "AppKit|Charts|Combine|CoreFoundation|CoreGraphics|CoreTransferable|DeveloperToolsSupport|Dispatch|Foundation"
    "|FoundationEssentials|FoundationGaps|FoundationInternationalization|Network|ObjectiveC|Observation|QuickLook"
    "|Security|Swift|SwiftUI|SwiftUICore|UniformTypeIdentifiers|UserNotifications|_Concurrency"
)
#: What says how a declaration is compiled, isolated or chosen, but not how it is called.
ATTRIBUTES = re.compile(
    r"@(?:inlinable|frozen|_disfavoredOverload|_alwaysEmitIntoClient|preconcurrency|discardableResult|objc"
    r"|usableFromInline|unchecked|retroactive|_inheritActorContext|_hasMissingDesignatedInitializers"
    r"|_implementationOnly|_transparent|_semantics\([^()]*\)|available\((?:[^()]|\([^()]*\))*\)|_typeEraser\(\w+\)|MainActor(?:\(unsafe\))?"
    r"|_originallyDefinedIn\([^()]*\))(?![\w.]) ?"
)
MODIFIERS = re.compile(r"\b(?:nonisolated(?:\(unsafe\))?|open|final|convenience|override|weak|isolated) ")
#: The shims' stand-ins for protocols that are not public.
STAND_INS = {
    "_PrimitiveView": "View",
    "_PrimitiveScene": "Scene",
    "_PrimitiveCommands": "Commands",
    "_PrimitiveToolbar": "ToolbarContent",
    "_PrimitiveMark": "ChartContent",
}
CONTAINER = re.compile(r"\b(struct|class|enum|protocol|extension|actor)\s")


@dataclass
class Interface:
    """`members` by the type they belong to, `types` by name with their head, `conformances` by type."""

    members: dict[str, set[str]] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    conformances: dict[str, set[str]] = field(default_factory=dict)


def parse(text: str) -> Interface:
    """Every public declaration of a module interface, normalised."""
    interface = Interface()
    _container(interface, _declarations(text), context="", protocol=False)
    return interface


@dataclass
class Declaration:
    head: str
    body: str | None


def _declarations(text: str) -> Iterator[Declaration]:
    """The declarations of one level, each with what is between its braces."""
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end].strip()
        if not line or line.startswith(("//", "import ", "@_exported import", "#", "}")):
            at = end + 1
            continue
        start, stop, close = _extent(text, at)
        yield Declaration(" ".join(text[at:start].split()), text[start + 1 : close] if stop else None)
        at = (close + 1) if stop else start


def _extent(text: str, at: int) -> tuple[int, bool, int]:
    """Where the head ends, whether a body follows, and where that ends. Attributes on lines of their own, and
    a default value in braces, belong to the head."""
    depth = 0
    for i in range(at, len(text)):
        c = text[i]
        if c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif c == "{" and depth == 0:
            return i, True, _closing(text, i)
        elif c == "\n" and depth == 0 and not _only_attributes(text[at:i]):
            return i, False, i
    return len(text), False, len(text)


def _only_attributes(head: str) -> bool:
    return not re.sub(r"@[\w.]+(?:\((?:[^()]|\([^()]*\))*\))?", "", head).strip()


def _closing(text: str, opening: int) -> int:
    depth = 0
    for i in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return i
    return len(text)


def _container(
    interface: Interface, declarations: Iterator[Declaration], context: str, protocol: bool
) -> None:
    for declaration in declarations:
        head = normal(declaration.head)
        if re.match(r"(?:internal|private|fileprivate)\b", head) or not head:
            continue
        found = CONTAINER.search(head)
        if declaration.body is not None and found and not re.search(r"\b(?:func|var|init|subscript)\b", head):
            _type(interface, declaration, head, context)
        else:
            accessors = _accessors(head, declaration.body)
            member = re.sub(r"^public ", "", f"{head}{accessors}").strip()
            for one in _cases(member):
                interface.members.setdefault(context, set()).add(one)


def _cases(member: str) -> list[str]:
    if not member.startswith("case ") or "(" in member:
        return [member]
    return [f"case {name.strip()}" for name in member[5:].split(",")]


def _type(interface: Interface, declaration: Declaration, head: str, context: str) -> None:
    kind, rest = head.split(" ", 1) if not head.startswith(("public ", "@")) else _public(head)
    name, inherited, where = _split_head(rest)
    bare = re.sub(r"<.*", "", name)
    full = bare if kind == "extension" or not context else f"{_plain(context)}.{bare}"
    for one in inherited:
        interface.conformances.setdefault(full, set()).add(one)
    if kind != "extension":
        interface.types[full] = f"{kind} {name}" + (f" where {where}" if where else "")
    inner = f"{full} where {where}" if kind == "extension" and where else full
    _container(interface, _declarations(declaration.body or ""), inner, kind == "protocol")


def _public(head: str) -> tuple[str, str]:
    found = CONTAINER.search(head)
    assert found is not None
    return found.group(1), head[found.end() :]


def _plain(context: str) -> str:
    return context.split(" where ")[0]


def _split_head(rest: str) -> tuple[str, list[str], str]:
    rest, _, where = rest.partition(" where ")
    name, _, inherited = rest.partition(" : ")
    parts = [STAND_INS.get(p.strip(), p.strip()) for p in inherited.split(",") if p.strip()]
    return name.strip(), [p for p in parts if p != "~Copyable"], _clauses(where)


def _accessors(head: str, body: str | None) -> str:
    if body is None or not re.search(r"\b(?:var|subscript)\b", head):
        return ""
    # A stored property is read and written like a computed one.
    settable = re.search(r"\b(?:set|_modify)\b", body)
    return " { get }" if not settable else ""


def normal(head: str) -> str:
    """A declaration's head without what does not change how it is called."""
    text = re.sub(rf"(?<![\w.])(?:{MODULES})\.(?=\w)", "", head)
    text = ATTRIBUTES.sub("", text)
    text = MODIFIERS.sub("", text).replace("@_functionBuilder", "@resultBuilder")
    text = re.sub(r"\s*{ get set }$", "", text)
    text = re.sub(
        r"(?<![@\w.])(\w+) (\w+)(?=: )", lambda m: m.group(0) if m.group(1) in KEYWORDS else m.group(1), text
    )
    text = re.sub(r"(func (?:[=<+]+) )\(\w+: (.+), \w+: (.+)\)", r"\1(\2, \3)", text)
    text = _defaults(text).replace("-> ()", "-> Void")
    text, _, where = text.partition(" where ")
    clauses = _clauses(where)
    return " ".join((text + (f" where {clauses}" if clauses else "")).split())


KEYWORDS = {"case", "var", "let", "func", "static", "inout", "subscript", "associatedtype", "typealias"}


def _clauses(where: str) -> str:
    parts = []
    for clause in top_level(where):
        clause = re.sub(r"\bSelf\.", "", clause)
        left, equal, right = clause.partition(" == ")
        parts.append(" == ".join(sorted((left, right))) if equal else clause)
    return ", ".join(sorted(parts))


def top_level(text: str) -> list[str]:
    parts, depth, last = [], 0, 0
    for i, c in enumerate(text):
        if c in "<([":
            depth += 1
        elif c in ")]" or (c == ">" and text[i - 1] != "-"):
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[last:i].strip())
            last = i + 1
    return [p for p in [*parts, text[last:].strip()] if p]


def _defaults(text: str) -> str:
    """That a parameter has a default counts, not which."""
    out, i = "", 0
    while i < len(text):
        if text.startswith(" = ", i) and "(" in text[:i] and "typealias" not in text:
            depth, j = 0, i + 3
            while j < len(text) and not (depth == 0 and text[j] in ",)"):
                depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(text[j], 0)
                j += 1
            out, i = out + " = _", j
        else:
            out, i = out + text[i], i + 1
    return out
