"""Compares every declaration of the shims with what Apple publishes, and keeps the list of results.

    signatures.py --shims DIRECTORY [--sdk SDK]

DIRECTORY has the shims' own interfaces, as `check` makes them. Without an SDK, the list in `signatures.tsv`
must have exactly the shims' declarations. With one (`xcrun --show-sdk-path`), each is compared again,
and the list is written anew: modules that are Swift's with the SDK's `.swiftinterface` files, the others with
its headers.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import headers
import interface

LIST = Path(__file__).with_name("signatures.tsv")
#: A Swift module's interfaces, below Frameworks or usr/lib/swift. Later SDKs have SwiftUI in two.
SWIFT = {
    "Charts": ["Charts"],
    "CoreTransferable": ["CoreTransferable"],
    "Network": ["Network"],
    "QuickLook": ["_QuickLook_SwiftUI"],
    "SwiftUI": ["SwiftUI", "SwiftUICore"],
    "UniformTypeIdentifiers": ["UniformTypeIdentifiers"],
}
OBJECTIVE_C = ["AppKit", "FoundationGaps", "Security", "UserNotifications"]
#: The shims' stand-ins for the protocols of views without a body, which are not public.
STAND_INS = {*interface.STAND_INS}
BODIES = (
    "typealias Body = ",
    "var body: ",
    "typealias TableRowBody = ",
    "var tableRowBody: ",
    "var tableColumnBody: ",
)

Row = tuple[str, str, str]


def main() -> int:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--shims", type=Path, required=True)
    arguments.add_argument("--sdk", type=Path)
    options = arguments.parse_args()
    shims = {m: interface.parse(read(options.shims, m)) for m in [*SWIFT, *OBJECTIVE_C]}
    if options.sdk is None:
        return against_list(shims)
    return against_sdk(shims, options.sdk)


def read(folder: Path, module: str) -> str:
    return (folder / f"{module}.swiftinterface").read_text()


def rows(module: str, shim: interface.Interface) -> Iterator[Row]:
    """The declarations of a module: its types, what they conform to, and their members."""
    for name, head in sorted(shim.types.items()):
        yield module, name, head
    for name, protocols in sorted(shim.conformances.items()):
        for protocol in sorted(protocols):
            yield module, name, f": {protocol}"
    for context, members in sorted(shim.members.items()):
        for member in sorted(members):
            yield module, context, member


# Without an SDK


def against_list(shims: dict[str, interface.Interface]) -> int:
    """Each declaration must be in the list, and the list must have no other."""
    checked = {line.split("\t")[1:4].__str__() for line in LIST.read_text().splitlines()[1:]}
    declared = {list(row).__str__() for module, shim in shims.items() for row in rows(module, shim)}
    for row in sorted(declared - checked):
        print(f"not checked against an SDK: {row}")
    for row in sorted(checked - declared):
        print(f"checked, and not declared any more: {row}")
    print(f"{len(declared & checked)} declarations of the shims are in the list")
    return 1 if declared != checked else 0


# With an SDK


def against_sdk(shims: dict[str, interface.Interface], sdk: Path) -> int:
    lines, failures = [], 0
    for module, shim in shims.items():
        judge = swift_judge(module, sdk) if module in SWIFT else headers.judge(module, sdk)
        for row in rows(module, shim):
            verdict = judge(row)
            if verdict.startswith(("absent", "differs")):
                failures += 1
                print("\t".join((verdict, *row)))
            lines.append("\t".join((verdict, *row)))
    LIST.write_text(
        "\n".join([f"verdict\tmodule\tcontext\tdeclaration ({version(sdk)})", *sorted(lines)]) + "\n"
    )
    print(f"{len(lines)} declarations compared with {version(sdk)}, {failures} not as published")
    return 1 if failures else 0


def version(sdk: Path) -> str:
    return sdk.resolve().name


def swift_judge(module: str, sdk: Path) -> headers.Judge:
    published = interface.parse("\n".join(published_text(module, sdk)))

    def judge(row: Row) -> str:
        _, context, declaration = row
        if declaration.startswith(": "):
            return conforms(published, context, declaration[2:])
        if declaration in published.members.get(context, ()) or published.types.get(context) == declaration:
            return "same"
        relaxed = declaration.replace("@isolated(any) ", "").replace("@Sendable ", "")
        if relaxed in published.members.get(context, ()):
            return "stricter, as in later SDKs"
        if context.split(".")[-1] in STAND_INS:
            return "stand-in for a protocol that is not public"
        if declaration.startswith(BODIES):
            return "no body here"
        if declaration.startswith("typealias Representation = @_opaqueReturnTypeOf"):
            return "the compiler's own name of an opaque type"
        return "absent"

    return judge


def conforms(published: interface.Interface, name: str, protocol: str) -> str:
    if protocol in published.conformances.get(name, ()):
        return "same"
    if name in STAND_INS:
        return "stand-in for a protocol that is not public"
    # Later SDKs isolate these to the main actor, as the shims do.
    implied = {"Sendable": "implied by the main actor", "Equatable": "implied", "RawRepresentable": "implied"}
    if protocol in implied:
        return implied[protocol]
    if protocol == "Plottable" and "PrimitivePlottableProtocol" in published.conformances.get(name, ()):
        return "implied"
    return "absent"


def published_text(module: str, sdk: Path) -> Iterator[str]:
    found = False
    for name in SWIFT[module]:
        for folder in (sdk / "System/Library/Frameworks", sdk / "usr/lib/swift"):
            for path in sorted(folder.glob(f"{name}.*/**/arm64e-apple-macos.swiftinterface")):
                found = True
                yield path.read_text()
                break
    if not found:
        sys.exit(f"{sdk} has no interface of {module}")


if __name__ == "__main__":
    sys.exit(main())
