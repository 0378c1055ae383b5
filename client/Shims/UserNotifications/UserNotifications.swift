// What UserNotifications declares, as far as the app uses it: signatures without anything behind them.
@_exported import FoundationGaps

open class UNUserNotificationCenter: NSObject {
    open class func current() -> UNUserNotificationCenter { declared() }
    open weak var delegate: (any UNUserNotificationCenterDelegate)?
    open func requestAuthorization(options: UNAuthorizationOptions = []) async throws -> Bool { declared() }
    open func add(_ request: UNNotificationRequest) async throws {}
}

public struct UNAuthorizationOptions: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
    public static let badge: UNAuthorizationOptions = declared()
    public static let sound: UNAuthorizationOptions = declared()
    public static let alert: UNAuthorizationOptions = declared()
}

public struct UNNotificationPresentationOptions: OptionSet, Sendable {
    public let rawValue: UInt
    public init(rawValue: UInt) { self.rawValue = rawValue }
    public static let banner: UNNotificationPresentationOptions = declared()
    public static let list: UNNotificationPresentationOptions = declared()
    public static let sound: UNNotificationPresentationOptions = declared()
}

public protocol UNUserNotificationCenterDelegate: NSObjectProtocol {
    func userNotificationCenter(
        _ center: UNUserNotificationCenter, willPresent notification: UNNotification
    ) async -> UNNotificationPresentationOptions
    func userNotificationCenter(
        _ center: UNUserNotificationCenter, didReceive response: UNNotificationResponse
    ) async
}

open class UNNotificationContent: NSObject {
    open var title: String { declared() }
    open var userInfo: [AnyHashable: Any] { declared() }
}

open class UNMutableNotificationContent: UNNotificationContent {
    open override var title: String {
        get { declared() }
        set {}
    }
    open var subtitle: String {
        get { declared() }
        set {}
    }
    open var body: String {
        get { declared() }
        set {}
    }
    open var sound: UNNotificationSound?
    open var threadIdentifier: String {
        get { declared() }
        set {}
    }
    open override var userInfo: [AnyHashable: Any] {
        get { declared() }
        set {}
    }
}

open class UNNotificationSound: NSObject {
    open class var `default`: UNNotificationSound { declared() }
}

open class UNNotificationTrigger: NSObject {}

open class UNNotificationRequest: NSObject {
    public convenience init(identifier: String, content: UNNotificationContent, trigger: UNNotificationTrigger?) {
        self.init()
    }
    open var identifier: String { declared() }
    open var content: UNNotificationContent { declared() }
}

open class UNNotification: NSObject {
    open var request: UNNotificationRequest { declared() }
}

open class UNNotificationResponse: NSObject {
    open var notification: UNNotification { declared() }
}

/// Nothing here runs: the module exists for the type checker.
func declared<T>(_ name: StaticString = #function) -> T {
    fatalError("\(name) is declared for the type checker only")
}
