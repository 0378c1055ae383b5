"""Whether Objective-C and C headers declare what a Swift declaration of the shims calls."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import interface
import objc

Judge = Callable[[tuple[str, str, str]], str]

FRAMEWORKS = {
    "AppKit": ["AppKit", "Foundation"],
    "FoundationGaps": ["CoreGraphics"],
    "Security": ["Security", "CoreFoundation", "Foundation"],
    "UserNotifications": ["UserNotifications"],
}
#: What a class, an enumeration, an option set or a typed constant has by being one.
KIND = re.compile(
    r"deinit|init\(\)|init\??\(rawValue: \w+\)|(?:let|var) rawValue: .*"
    r"|typealias (?:RawValue|Element|ArrayLiteralElement) = .*"
    r"|: (?:Equatable|Hashable|Sendable|RawRepresentable|OptionSet|Int|UInt|Int32|Error)"
)
#: Constants whose Swift names do not follow from their own.
ATTRIBUTES = {
    "font": "NSFontAttributeName",
    "foregroundColor": "NSForegroundColorAttributeName",
    "backgroundColor": "NSBackgroundColorAttributeName",
    "underlineStyle": "NSUnderlineStyleAttributeName",
    "strikethroughStyle": "NSStrikethroughStyleAttributeName",
}
#: The names that headers have for types that Swift renames.
RENAMED = {
    "NSApplication.ModalResponse": "NSModalResponse",
    "NSFont.Weight": "NSFontWeight",
    "NSPasteboard.PasteboardType": "NSPasteboardType",
    "NSTableColumn.ResizingOptions": "NSTableColumnResizingOptions",
    "NSTableView.Style": "NSTableViewStyle",
}


def judge(module: str, sdk: Path) -> Judge:
    frameworks = sdk / "System/Library/Frameworks"
    headers = objc.load(folder for name in FRAMEWORKS[module] for folder in _folders(frameworks, name))
    overlay = _overlay(sdk) if module == "FoundationGaps" else interface.Interface()

    def verdict(row: tuple[str, str, str]) -> str:
        _, context, declaration = row
        declaration = declaration.replace("FoundationNetworking.", "")
        if declaration in overlay.members.get(context, ()):
            return "same"
        if declaration == ": Sendable" and context in headers.types:
            own = {context, *_ancestors(headers, context)}
            return "same, or an ancestor's" if own & headers.sendable else "absent"
        if declaration == "init(_: String)" and re.search(rf"typedef NSString ?\* ?{context} ", headers.text):
            return "has it by its kind"
        if KIND.fullmatch(declaration) or declaration.startswith("static func =="):
            return "has it by its kind"
        name = re.sub(r"^FoundationNetworking\.", "NS", context)
        if not context:
            return _global(headers, declaration)
        return _type(headers, name, declaration) or _member(headers, name, declaration)

    return verdict


def _folders(frameworks: Path, name: str) -> Iterator[Path]:
    yield from sorted(frameworks.glob(f"{name}.framework/Versions/*/Headers"))[:1]


def _overlay(sdk: Path) -> interface.Interface:
    """Foundation's own Swift interface, for what it has beyond Objective-C."""
    paths = sorted(
        (sdk / "System/Library/Frameworks").glob("Foundation.framework/**/arm64e-apple-macos.swiftinterface")
    )
    return interface.parse("\n".join(path.read_text() for path in paths))


# Types


def _type(headers: objc.Headers, name: str, declaration: str) -> str | None:
    objc_name = RENAMED.get(name, name)
    if declaration.startswith(": "):
        known = {"NSObjectProtocol": "NSObject"}.get(declaration[2:], declaration[2:])
        return "same, or an ancestor" if known in _ancestors(headers, objc_name) else "absent"
    if not re.match(r"(?:class|protocol|enum|struct) ", declaration):
        return None
    if declaration.startswith("class var") or declaration.startswith("class func"):
        return None
    if objc_name in headers.types or objc_name in headers.enums:
        return "same"
    typed = re.search(rf"typedef [\w ]+ ?\*? ?{objc_name} (?:_?NS_|CF_|NS|;)?", headers.text)
    core = re.search(rf"typedef (?:const )?struct [\w() ]+ ?\* ?{objc_name}Ref", headers.text)
    return "same" if typed or core else "absent"


def _ancestors(headers: objc.Headers, name: str) -> set[str]:
    parents = headers.types.get(name, objc.Type()).parents
    return parents.union(*(_ancestors(headers, parent) for parent in parents if parent != name))


# Members


def _member(headers: objc.Headers, name: str, declaration: str) -> str:
    objc_name = RENAMED.get(name, name)
    if declaration.startswith("case "):
        return _case(headers, objc_name, declaration[5:])
    if name == "NSAttributedString.Key":
        constant = ATTRIBUTES[declaration.split("let ")[1].split(":")[0]]
        found = re.search(rf"NSAttributedStringKey (?:const )?{constant}\b", headers.text)
        return f"same as {constant}" if found else "absent"
    static = re.match(r"static let (\w+): ", declaration)
    if static:
        return _case(headers, objc_name, static.group(1))
    variable = re.match(r"(class )?var `?(\w+)`?: (.+?)( \{ get \})?$", declaration)
    if variable:
        return _property(headers, objc_name, variable)
    return _method(headers, objc_name, declaration)


def _case(headers: objc.Headers, objc_name: str, case: str) -> str:
    """An enumeration's case, or a constant of a typed name: the type's name and the case's, in some order."""
    typed = rf"(?:{objc_name} const|const {objc_name}) (\w+)"
    for known in headers.enums.get(objc_name, ("", []))[1] or re.findall(typed, headers.text):
        prefix = known[: len(known) - len(case)].removeprefix("k")
        if known.lower().endswith(case.lower()) and objc_name.startswith(prefix.removesuffix("s")):
            return f"same as {known}"
        if known.lower() == f"{objc_name[:2]}{case}".lower() or known == f"NS{objc_name[2:]}{case}":
            return f"same as {known}"
    return "absent"


def _property(headers: objc.Headers, name: str, variable: re.Match[str]) -> str:
    is_static, swift_name, swift_type, read_only = variable.groups()
    notification = f"{name}{swift_name[0].upper()}{swift_name[1:]}"
    if swift_type == "NSNotification.Name":
        return (
            f"same as {notification}"
            if re.search(rf"NSNotificationName (?:const )?{notification}\b", headers.text)
            else "absent"
        )
    for known in _lineage(headers, name):
        for candidate in known.properties.values():
            getter = next((a[7:] for a in candidate.attributes if a.startswith("getter=")), candidate.name)
            if swift_name not in (candidate.name, getter, candidate.name.lower()) and not _omits(
                candidate.name, swift_name, name
            ):
                continue
            words = " ".join(candidate.attributes & {"nullable", "null_resettable", "null_unspecified"})
            found = objc.swift(f"{words} {candidate.type}", name)
            if candidate.attributes & {"weak"} and not found.endswith("?"):
                found += "?"
            is_read_only = "readonly" in candidate.attributes
            if (found, bool(is_static)) != (swift_type, "class" in candidate.attributes):
                return f"differs: {found}"
            if is_read_only and not read_only:
                return "differs: it is read-only"
            return f"same as {candidate.name}"
        for method in known.methods:  # a class property that is a method in the header
            is_named = method.selector == swift_name or _omits(method.selector, swift_name, name)
            if is_named and objc.swift(method.result, name) == swift_type:
                return f"same as {method.selector}"
    return "absent"


def _omits(objc_name: str, swift_name: str, type_name: str) -> bool:
    """Swift leaves out the type's name: `generalPasteboard` of NSPasteboard is `general`."""
    rest = objc_name[len(swift_name) :]
    return objc_name.startswith(swift_name) and bool(rest) and rest in type_name


def _lineage(headers: objc.Headers, name: str) -> Iterator[objc.Type]:
    known = headers.types.get(name)
    if known:
        yield known
        for parent in sorted(known.parents):
            yield from _lineage(headers, parent)


def _method(headers: objc.Headers, name: str, declaration: str) -> str:
    parsed = re.match(
        r"(class |static )?(?:func )?(\w+)\((.*)\)((?: async)?(?: throws)?)(?: -> (.+))?$", declaration
    )
    if parsed is None:
        return "absent"
    _, base, parameters, effects, result = parsed.groups()
    labels = [p.split(": ", 1) for p in interface.top_level(parameters)]
    wanted = [re.sub(r" = _$", "", t) for _, t in labels]
    reasons = []
    if base.startswith("set") and wanted and _setter(headers, name, base[3:], wanted[0]):
        return f"same as the property {base[3].lower()}{base[4:]}"
    for known in _lineage(headers, name):
        for method in known.methods:
            types = _synchronous(method, effects, name)
            if types is None or not _named(base, [label for label, _ in labels], method, name):
                continue
            if types == (wanted, result or "Void") or (base == "init" and types[0] == wanted):
                return f"same as {'+' if method.is_static else '-'}{method.selector}"
            reasons.append(f"differs: {types[0]} -> {types[1]}")
    return reasons[0] if reasons else "absent"


def _setter(headers: objc.Headers, name: str, property_name: str, wanted: str) -> bool:
    """Accessibility's properties are methods in Swift."""
    for known in _lineage(headers, name):
        found = known.properties.get(f"{property_name[0].lower()}{property_name[1:]}")
        if found:
            null = "nullable " if "nullable" in found.attributes else ""
            return objc.swift(f"{null}{found.type}", name) == wanted
    return False


def _synchronous(method: objc.Method, effects: str, name: str) -> tuple[list[str], str] | None:
    """Parameters and result in Swift. An asynchronous method returns what its completion handler gets."""
    types = [objc.swift(t, name) for t in method.parameters if "^" not in t]
    blocks = [t for t in method.parameters if "^" in t]
    if "async" not in effects:
        return None if blocks else (types, objc.swift(method.result, name))
    if not blocks:
        return None
    handed = re.sub(r"NS_\w+", "", blocks[-1].split("^", 1)[1].split(")", 1)[1].strip("() "))
    values = [
        re.sub(r"\b\w+$", "", v.strip()) if not v.strip().endswith("*") else v.strip()
        for v in handed.split(",")
    ]
    values = [v for v in values if v.strip() and "NSError" not in v and v.strip() != "void"]
    return types, objc.swift(values[0]) if values else "Void"


def _named(base: str, labels: list[str], method: objc.Method, type_name: str) -> bool:
    """Whether Swift gives the selector these names: words that say a parameter's type go."""
    pieces = [p for p in method.selector.split(":") if p]
    first, rest = pieces[0], pieces[1:]
    if rest and "ompletionHandler" in rest[-1]:
        rest = rest[:-1]
    elif "ompletionHandler" in first:
        first = re.sub(r"WithCompletionHandler$", "", first)
    words = "".join(re.sub(r"[^A-Za-z]", "", t) for t in method.parameters)
    wanted = labels[:]
    if base == "init":
        head = re.sub(rf"^(?:init|{_word(type_name)})(?:With)?", "", first)
        if wanted and head.lower() == wanted[0].lower():
            head = wanted[0]
        return bool(wanted) and _label(wanted[0], head, words) and _labels(wanted[1:], rest, words)
    if not first.startswith(base):
        word = _word(type_name)
        first = first[len(word) :][:1].lower() + first[len(word) + 1 :] if first.startswith(word) else first
        if first != base:
            return False
    tail = first[len(base) :]
    if not wanted:
        return not tail or tail in type_name
    return _label(wanted[0], re.sub(r"^With(?=[A-Z])", "", tail) or tail, words, tail) and _labels(
        wanted[1:], rest, words
    )


def _word(type_name: str) -> str:
    """What a factory's selector begins with: `color` of NSColor, `request` of UNNotificationRequest."""
    last: str = re.findall(r"[A-Z][a-z]+", type_name)[-1]
    return last[0].lower() + last[1:]


def _labels(labels: list[str], pieces: list[str], words: str) -> bool:
    return len(labels) == len(pieces) and all(
        _label(*pair, words) for pair in zip(labels, pieces, strict=True)
    )


def _label(label: str, piece: str, words: str, whole: str = "") -> bool:
    for text in {piece, whole or piece}:
        lowered = text[:1].lower() + text[1:]
        if label == "_" and (not text or text in words):
            return True
        if lowered == label or (lowered.startswith(label) and lowered[len(label) :] in words):
            return True
    return False


# Functions and constants of C


def _global(headers: objc.Headers, declaration: str) -> str:
    if declaration.startswith("typealias "):
        return "the type that `as` bridges on a Mac"
    function = re.match(r"func (\w+)\((.*)\)(?: -> (.+))?$", declaration)
    if function:
        return _function(headers, *function.groups())
    name = re.split(r"[ :]+", declaration)[1]
    if re.search(rf"\b{name}\s*=\s*-?\d+", headers.text):
        return "same, an enumeration's"
    if re.search(
        rf"CFStringRef (?:const )?{name}\b|const CFStringRef {name}\b|NSString ?\* ?const {name}\b",
        headers.text,
    ):
        return "same"
    return "absent"


def _function(headers: objc.Headers, name: str, parameters: str, result: str | None) -> str:
    found = re.search(rf"([\w* ]+?) ?\b{name} ?\(((?:[^()]|\([^()]*\))*)\)", headers.text)
    if not found:
        return "absent"
    before = headers.text[: found.start(1)].split()[-2:] + found.group(1).split()
    words = [w for w in before if w.strip("@") not in ("", "extern", "retained")]
    is_null = any(w.lower().strip("_") == "nullable" for w in words[-2:])
    returned = next(w for w in reversed(words) if w.lower().strip("_") != "nullable")
    raw = [p.strip() for p in found.group(2).split(",") if p.strip() not in ("", "void")]
    types = [objc.swift(re.sub(r"\b\w+$", "", p).strip()) for p in raw]
    wanted = [p.split(": ", 1)[1] for p in interface.top_level(parameters)]
    # Core Foundation's oldest headers say nothing on null: Swift then has an implicitly unwrapped optional.
    same = [
        w in (t, f"{t}!", f"{t}?") if w.endswith("!") else w == t for w, t in zip(wanted, types, strict=False)
    ]
    given = objc.swift(returned)
    results = {f"{given}?" if is_null else given}
    if len(wanted) != len(types) or not all(same):
        return f"differs: {types}"
    return "same" if (result or "Void") in results else f"differs: -> {given}"
