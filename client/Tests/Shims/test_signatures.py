"""The comparison itself: what it takes for the same, and what it must not."""

from collections.abc import Callable
from pathlib import Path

import headers
import interface
import pytest
import signatures

PUBLISHED = """
import Swift
@available(macOS 14.0, *)
public protocol Shown {
  associatedtype Body : UI.Shown
}
@frozen public struct Row<Cell> : UI.Shown where Cell : UI.Shown {
  @inlinable public init(@UI.Builder cell: () -> Cell, width: CoreFoundation.CGFloat? = nil) {
    self.cell = cell()
  }
  public static let plain: UI.Row<Cell>
  public var size: Swift.Int {
    get
  }
}
extension UI.Shown {
  @_alwaysEmitIntoClient public func padded<T>(_ by: T) -> some UI.Shown where T : Swift.Hashable {
    self
  }
}
public enum Side : Swift.Hashable {
  case left, right
}
"""

HEADER = """
@class Window, Row;
@protocol Listener;
/* - (void)thisIsAComment; */
@interface Table : NSObject <NSCoding>
@property (nullable, weak) id<Listener> delegate API_AVAILABLE(macos(10.0));
@property (readonly) NSInteger numberOfRows;
- (void)scrollRowToVisible:(NSInteger)row;
- (BOOL)setString:(NSString *)string forType:(nullable NSString *)type;
- (void)beginWithCompletionHandler:(void (^)(BOOL result))handler;
+ (Table *)tableWithName:(NSString *)name;
@end
"""


def members(context: str) -> set[str]:
    return interface.parse(PUBLISHED.replace("UI.", "SwiftUI.")).members[context]


def test_attributes_and_bodies_do_not_count() -> None:
    assert "init(@Builder cell: () -> Cell, width: CGFloat? = _)" in members("Row")


def test_a_default_counts_and_not_which() -> None:
    found = interface.normal("public func padded(by: Int = 2)")
    assert found == "public func padded(by: Int = _)"
    assert found != interface.normal("public func padded(by: Int)")


def test_the_order_of_constraints_does_not_count() -> None:
    one = interface.normal("func f<T>(_ a: T) where T : Sendable, T : Hashable")
    assert one == interface.normal("func f<T>(_ b: T) where T : Hashable, T : Sendable")
    assert one != interface.normal("func f<T>(_ b: T) where T : Hashable")


def test_labels_count() -> None:
    assert interface.normal("func f(edge a: Int)") != interface.normal("func f(side a: Int)")


def test_what_can_be_set_counts() -> None:
    assert "var size: Int { get }" in members("Row")
    assert "var size: Int" not in members("Row")


def test_cases_are_told_apart() -> None:
    assert members("Side") == {"case left", "case right"}


def test_heads_and_conformances_are_kept() -> None:
    published = interface.parse(PUBLISHED)
    assert published.types["Row"] == "struct Row<Cell> where Cell : UI.Shown"
    assert signatures.conforms(published, "Side", "Hashable") == "same"
    assert signatures.conforms(published, "Side", "Codable") == "absent"


@pytest.fixture
def judge(tmp_path: Path) -> Callable[[str], str]:
    folder = tmp_path / "System/Library/Frameworks/AppKit.framework/Versions/C/Headers"
    folder.mkdir(parents=True)
    (folder / "Table.h").write_text(HEADER)
    judge = headers.judge("AppKit", tmp_path)
    return lambda declaration: judge(("AppKit", "Table", declaration))


@pytest.mark.parametrize(
    "declaration",
    [
        "func scrollRowToVisible(_: Int)",
        "func setString(_: String, forType: String?) -> Bool",
        "func begin() async -> Bool",
        "var numberOfRows: Int { get }",
        "var delegate: (any Listener)?",
        "init(name: String)",
        ": NSObject",
    ],
)
def test_what_a_header_declares(judge: Callable[[str], str], declaration: str) -> None:
    assert judge(declaration).startswith("same")


@pytest.mark.parametrize(
    "declaration",
    [
        "func scrollRowToVisible(_: String)",
        "func scrollRow(_: Int)",
        "func scrollRowToVisible(row: Int)",
        "func setString(_: String, type: String?) -> Bool",
        "func setString(_: String, forType: String) -> Bool",
        "func setString(_: String)",
        "func begin() async -> Int",
        "func begin() -> Bool",
        "func thisIsAComment()",
        "var numberOfRows: Int",
        "class var numberOfRows: Int { get }",
        "var delegate: any Listener",
        "init(title: String)",
        ": NSView",
        ": Sendable",
    ],
)
def test_what_a_header_does_not_declare(judge: Callable[[str], str], declaration: str) -> None:
    assert judge(declaration).startswith(("absent", "differs"))
