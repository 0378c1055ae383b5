"""Objective-C and C headers, as far as it takes to see what Swift makes of their declarations."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

#: What says since when something is there, or how Swift treats it. None of it changes a signature here.
MACROS = re.compile(
    r"\b(?:API|NS|UI|CF|SEC|OS|CG|APPKIT|UN|FOUNDATION|__OSX|__IOS|__SEC|__API)_(?:AVAILABLE|DEPRECATED"
    r"|UNAVAILABLE|ENUM_DEPRECATED|SWIFT_[A-Z_]+|REFINED_FOR_SWIFT|AVAILABLE_STARTING|AVAILABLE_MAC|OS_AVAILABLE"
    r"|DESIGNATED_INITIALIZER|REQUIRES_SUPER|RETURNS_[A-Z_]+|NOESCAPE|NONATOMIC_IOSONLY)\w*"
    r"(?:\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))?"
)
COMMENTS = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
PREPROCESSOR = re.compile(
    r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*|\b(?:__BEGIN_DECLS|CF_ASSUME_NONNULL_BEGIN|CF_IMPLICIT_BRIDGING_\w+)\b",
    re.M,
)
FORWARD = re.compile(r"@(?:protocol|class)\s+[\w\s,<>*]+;")
BLOCK = re.compile(
    r"@(interface|protocol)\s+(\w+)\s*(\([^)]*\))?\s*(?::\s*(\w+))?\s*(?:<([^>]*)>)?([^;].*?)@end", re.S
)
PROPERTY = re.compile(r"@property\s*(?:\(([^)]*)\))?\s*([^;]+?)\b(\w+)\s*;")
METHOD = re.compile(r"^\s*([-+])\s*\(((?:[^()]|\([^()]*\))*)\)\s*([^;{]+);", re.M)
PART = re.compile(r"(\w+)?\s*:\s*\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)\s*\w+")
SENDABLE = re.compile(r"NS_SWIFT_(?:UI_ACTOR|SENDABLE)\s+(?:\w+\([^)]*\)+\s*)*@interface\s+(\w+)")
ENUM = re.compile(r"(?:NS|CF)_(?:CLOSED_)?(?:ENUM|OPTIONS)\((\w+),\s*(\w+)\)\s*{(.*?)}", re.S)


@dataclass(frozen=True)
class Method:
    is_static: bool
    selector: str
    parameters: tuple[str, ...]
    result: str


@dataclass(frozen=True)
class Property:
    name: str
    type: str
    attributes: frozenset[str]


@dataclass
class Type:
    parents: set[str] = field(default_factory=set)
    methods: list[Method] = field(default_factory=list)
    properties: dict[str, Property] = field(default_factory=dict)


@dataclass
class Headers:
    """`text` is all of them without comments; `types` are classes with their categories, and protocols."""

    text: str
    types: dict[str, Type] = field(default_factory=dict)
    #: Classes that the header says may go from thread to thread, or belong to the main actor.
    sendable: set[str] = field(default_factory=set)
    enums: dict[str, tuple[str, list[str]]] = field(default_factory=dict)


def load(folders: Iterable[Path]) -> Headers:
    text = "\n".join(p.read_text(errors="replace") for f in folders for p in sorted(f.glob("*.h")))
    # Who owns a result that a pointer takes decides its type in Swift.
    text = COMMENTS.sub("", text).replace("CF_RETURNS_RETAINED", "@retained")
    sendable = set(SENDABLE.findall(text))
    text = FORWARD.sub("", PREPROCESSOR.sub("", MACROS.sub(" ", text)))
    headers = Headers(" ".join(text.split()), sendable=sendable)
    for _, name, _, parent, protocols, body in BLOCK.findall(text):
        type_ = headers.types.setdefault(name, Type())
        type_.parents |= {p.strip() for p in [parent, *protocols.split(",")] if p.strip()}
        _members(type_, body)
    for raw, name, body in ENUM.findall(text):
        names = [
            re.split(r"\s*=|\s+@|\s", case.strip())[0] for case in re.sub(r"\([^()]*\)", "", body).split(",")
        ]
        headers.enums[name] = raw, [n for n in names if n]
    return headers


def _members(type_: Type, body: str) -> None:
    for attributes, objc_type, name in PROPERTY.findall(body):
        words = frozenset(a.strip() for a in attributes.split(",") if a.strip())
        type_.properties[name] = Property(name, " ".join(objc_type.split()), words)
    for sign, result, rest in METHOD.findall(body):
        parts = PART.findall(rest)
        selector = "".join(f"{name}:" for name, _ in parts) if parts else rest.split()[0]
        types = tuple(" ".join(t.split()) for _, t in parts)
        type_.methods.append(Method(sign == "+", selector, types, " ".join(result.split())))


# Types

PLAIN = {
    "BOOL": "Bool",
    "Boolean": "Bool",
    "CFIndex": "Int",
    "CFTypeID": "CFTypeID",
    "CFTypeRef": "CFTypeRef",
    "CGFloat": "CGFloat",
    "NSArray": "[Any]",
    "NSDictionary": "[AnyHashable : Any]",
    "NSFontWeight": "NSFont.Weight",
    "NSIndexSet": "IndexSet",
    "NSInteger": "Int",
    "NSModalResponse": "NSApplication.ModalResponse",
    "NSNotification": "Notification",
    "NSNotificationCenter": "NotificationCenter",
    "NSNotificationName": "NSNotification.Name",
    "NSPasteboardType": "NSPasteboard.PasteboardType",
    "NSString": "String",
    "NSTableColumnResizingOptions": "NSTableColumn.ResizingOptions",
    "NSTableViewStyle": "NSTableView.Style",
    "NSUInteger": "Int",
    "NSURL": "URL",
    "NSURLCredentialPersistence": "URLCredential.Persistence",
    "OSStatus": "OSStatus",
    "SecKeyAlgorithm": "SecKeyAlgorithm",
    "bool": "Bool",
    "id": "Any",
    "void": "Void",
}


def swift(type_: str, context: str = "") -> str:
    """What Swift makes of a type. Without a word on null it is there, as in headers that assume so."""
    nullable = bool(
        re.search(r"\b_?_?nullable\b|_Nullable(?!\s*\*)", type_.rsplit("*", 1)[-1])
        or "nullable " in type_[:10]
    )
    unspecified = "null_resettable" in type_ or "null_unspecified" in type_
    bare = re.sub(
        r"@retained|__kindof|\bconst\b|_?_?[nN]ullable|_?_?[nN]onnull|null_\w+|\binstancetype\b", "", type_
    )
    bare = bare.strip()
    found = _pointer(type_, bare) or _collection(bare) or _name(bare, context)
    if found.endswith("?"):
        return found
    return found + ("?" if nullable else "!" if unspecified else "")


def _pointer(type_: str, bare: str) -> str | None:
    match = re.fullmatch(r"(\w+Ref)\s*\*", bare)
    if match:
        inner = _name(match.group(1), "")
        if inner != "CFError":
            return f"UnsafeMutablePointer<{inner}?>"
        # Clang lets every pointer to an error be null.
        return f"UnsafeMutablePointer<{'CFError' if '@retained' in type_ else 'Unmanaged<CFError>'}?>?"
    return "UnsafeMutableRawPointer" if re.fullmatch(r"void\s*\*", bare) else None


def _collection(bare: str) -> str | None:
    match = re.fullmatch(r"NSArray\s*<\s*(.+?)\s*>\s*\*", bare)
    if match:
        return f"[{swift(match.group(1))}]"
    match = re.fullmatch(r"id\s*<\s*(\w+)\s*>", bare)
    return f"(any {match.group(1)})" if match else None


def _name(bare: str, context: str) -> str:
    name = bare.replace("*", "").strip() or context
    name = re.sub(r"\s*<.*>", "", name)
    if re.fullmatch(r"(?:CF|Sec)\w+Ref", name) and name != "CFTypeRef":
        return name[:-3]
    return PLAIN.get(name, name)
