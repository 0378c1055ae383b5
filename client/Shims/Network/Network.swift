// What Network declares, as far as the app uses it: signatures without anything behind them.
import Dispatch

public struct NWPath: Equatable, Sendable {
    public enum Status: Sendable {
        case satisfied
        case unsatisfied
        case requiresConnection
    }
    public let status: NWPath.Status
    public static func == (lhs: NWPath, rhs: NWPath) -> Bool { fatalError("declared for the type checker only") }
}

public final class NWPathMonitor {
    @preconcurrency public var pathUpdateHandler: (@Sendable (_ newPath: NWPath) -> Void)?
    public init() {}
    public func start(queue: DispatchQueue) {}
}
