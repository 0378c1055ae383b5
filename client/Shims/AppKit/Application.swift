// What AppKit declares, as far as the app uses it: signatures without anything behind them.
@_exported import FoundationGaps

@MainActor
open class NSResponder: NSObject {
    public override init() { super.init() }
}

@MainActor
open class NSApplication: NSResponder {
    open class var shared: NSApplication { declared() }
    open func terminate(_ sender: Any?) {}
    open func activate(ignoringOtherApps flag: Bool) {}
}

@MainActor
public protocol NSApplicationDelegate: NSObjectProtocol {
    func applicationDidFinishLaunching(_ notification: Notification)
    func applicationShouldTerminateAfterLastWindowClosed(_ sender: NSApplication) -> Bool
}
extension NSApplicationDelegate {
    // Optional in Objective-C.
    public func applicationDidFinishLaunching(_ notification: Notification) {}
    public func applicationShouldTerminateAfterLastWindowClosed(_ sender: NSApplication) -> Bool { declared() }
}

open class NSWorkspace: NSObject {
    open class var shared: NSWorkspace { declared() }
    open var notificationCenter: NotificationCenter { declared() }
    public class var didWakeNotification: NSNotification.Name { declared() }
    public class var willSleepNotification: NSNotification.Name { declared() }
}

open class NSPasteboard: NSObject {
    public struct PasteboardType: Hashable, RawRepresentable, Sendable {
        public let rawValue: String
        public init(rawValue: String) { self.rawValue = rawValue }
        public static let string: NSPasteboard.PasteboardType = declared()
    }
    open class var general: NSPasteboard { declared() }
    @discardableResult
    open func clearContents() -> Int { declared() }
    @discardableResult
    open func setString(_ string: String, forType dataType: NSPasteboard.PasteboardType) -> Bool { declared() }
}

@MainActor
open class NSSavePanel: NSObject {
    open var nameFieldStringValue: String {
        get { declared() }
        set {}
    }
    open var prompt: String! {
        get { declared() }
        set {}
    }
    open var message: String! {
        get { declared() }
        set {}
    }
    open var canCreateDirectories: Bool {
        get { declared() }
        set {}
    }
    open var url: URL? { declared() }
    open func begin() async -> NSApplication.ModalResponse { declared() }
    public override init() { super.init() }
}

@MainActor
open class NSOpenPanel: NSSavePanel {
    open var canChooseDirectories: Bool {
        get { declared() }
        set {}
    }
    open var canChooseFiles: Bool {
        get { declared() }
        set {}
    }
}

extension NSApplication {
    public struct ModalResponse: Hashable, RawRepresentable, Sendable {
        public let rawValue: Int
        public init(rawValue: Int) { self.rawValue = rawValue }
        nonisolated public static let OK: NSApplication.ModalResponse = declared()
    }
}

/// Nothing here runs: the modules exist for the type checker.
func declared<T>(_ name: StaticString = #function) -> T {
    fatalError("\(name) is declared for the type checker only")
}
