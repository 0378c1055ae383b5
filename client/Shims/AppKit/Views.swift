// The table that shows a log of a million lines.
@MainActor
open class NSView: NSResponder {
    public init(frame frameRect: NSRect) { super.init() }
    open func setAccessibilityLabel(_ accessibilityLabel: String?) {}
    open var identifier: NSUserInterfaceItemIdentifier?
    open func scroll(_ point: NSPoint) {}
    open var bounds: NSRect {
        get { declared() }
        set {}
    }
}

public struct NSUserInterfaceItemIdentifier: Hashable, RawRepresentable, Sendable {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }
    public init(_ rawValue: String) { self.rawValue = rawValue }
}

@MainActor
open class NSControl: NSView {}

@MainActor
open class NSTextField: NSControl {
    public convenience init(labelWithString stringValue: String) { self.init(frame: .zero) }
}
extension NSControl {
    public var attributedStringValue: NSAttributedString {
        get { declared() }
        set {}
    }
    public var lineBreakMode: NSLineBreakMode {
        get { declared() }
        set {}
    }
}

public enum NSLineBreakMode: UInt, Sendable {
    case byWordWrapping = 0
    case byCharWrapping = 1
    case byClipping = 2
    case byTruncatingHead = 3
    case byTruncatingTail = 4
    case byTruncatingMiddle = 5
}

@MainActor
open class NSScrollView: NSView {
    open var documentView: NSView?
    open var hasVerticalScroller: Bool {
        get { declared() }
        set {}
    }
    open var hasHorizontalScroller: Bool {
        get { declared() }
        set {}
    }
    open var documentVisibleRect: NSRect { declared() }
}
extension NSScrollView {
    public class var didLiveScrollNotification: NSNotification.Name { declared() }
}

open class NSTableColumn: NSObject {
    public init(identifier: NSUserInterfaceItemIdentifier) { super.init() }
    open var identifier: NSUserInterfaceItemIdentifier {
        get { declared() }
        set {}
    }
    open var width: CGFloat {
        get { declared() }
        set {}
    }
    open var resizingMask: NSTableColumn.ResizingOptions {
        get { declared() }
        set {}
    }
    public struct ResizingOptions: OptionSet, Sendable {
        public let rawValue: UInt
        public init(rawValue: UInt) { self.rawValue = rawValue }
    }
}

@MainActor
open class NSTableView: NSControl {
    open weak var dataSource: (any NSTableViewDataSource)?
    open weak var delegate: (any NSTableViewDelegate)?
    open func addTableColumn(_ tableColumn: NSTableColumn) {}
    open var headerView: NSTableHeaderView?
    open var rowHeight: CGFloat {
        get { declared() }
        set {}
    }
    open var intercellSpacing: NSSize {
        get { declared() }
        set {}
    }
    open var allowsMultipleSelection: Bool {
        get { declared() }
        set {}
    }
    open var selectedRowIndexes: IndexSet { declared() }
    open var style: NSTableView.Style {
        get { declared() }
        set {}
    }
    open func reloadData() {}
    open func noteNumberOfRowsChanged() {}
    open func scrollRowToVisible(_ row: Int) {}
    open func selectRowIndexes(_ indexes: IndexSet, byExtendingSelection extend: Bool) {}
    open func makeView(withIdentifier identifier: NSUserInterfaceItemIdentifier, owner: Any?) -> NSView? { declared() }
    public enum Style: Int, Sendable {
        case automatic = 0
        case fullWidth = 1
        case inset = 2
        case sourceList = 3
        case plain = 4
    }
}

@MainActor
open class NSTableHeaderView: NSView {}

@MainActor
public protocol NSTableViewDataSource: NSObjectProtocol {
    func numberOfRows(in tableView: NSTableView) -> Int
}

@MainActor
public protocol NSTableViewDelegate: NSObjectProtocol {
    func tableView(_ tableView: NSTableView, viewFor tableColumn: NSTableColumn?, row: Int) -> NSView?
    func tableViewSelectionDidChange(_ notification: Notification)
}
open class NSFont: NSObject {
    open class func monospacedSystemFont(ofSize fontSize: CGFloat, weight: NSFont.Weight) -> NSFont { declared() }
    public class var smallSystemFontSize: CGFloat { declared() }
    public struct Weight: Hashable, RawRepresentable, Sendable {
        public let rawValue: CGFloat
        public init(rawValue: CGFloat) { self.rawValue = rawValue }
        public static let regular: NSFont.Weight = declared()
        public static let bold: NSFont.Weight = declared()
    }
}

open class NSColor: NSObject {
    open class var labelColor: NSColor { declared() }
    open class var secondaryLabelColor: NSColor { declared() }
    open class var tertiaryLabelColor: NSColor { declared() }
    open class var textBackgroundColor: NSColor { declared() }
    open class var findHighlightColor: NSColor { declared() }
    open class var systemRed: NSColor { declared() }
    open class var systemGreen: NSColor { declared() }
    open class var systemYellow: NSColor { declared() }
    open class var systemBlue: NSColor { declared() }
    open class var systemPurple: NSColor { declared() }
    open class var systemTeal: NSColor { declared() }
    open class var systemOrange: NSColor { declared() }
    public init(srgbRed red: CGFloat, green: CGFloat, blue: CGFloat, alpha: CGFloat) {}
    open func withAlphaComponent(_ alpha: CGFloat) -> NSColor { declared() }
}

extension NSAttributedString.Key {
    public static let font: NSAttributedString.Key = declared()
    public static let foregroundColor: NSAttributedString.Key = declared()
    public static let backgroundColor: NSAttributedString.Key = declared()
    public static let underlineStyle: NSAttributedString.Key = declared()
    public static let strikethroughStyle: NSAttributedString.Key = declared()
}
public struct NSUnderlineStyle: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static let single: NSUnderlineStyle = declared()
}
