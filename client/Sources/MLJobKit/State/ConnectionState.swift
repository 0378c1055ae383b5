import Foundation

/// How it stands with a host or a stream.
public enum ConnectionState: Hashable, Sendable {
    /// Not asked yet.
    case idle
    case connecting
    case connected
    /// Lost; tried again by itself, at that time.
    case offline(Trouble, retryAt: Date)
    /// Refused; trying again is the user's to ask for.
    case refused(Trouble)

    public var isConnected: Bool { self == .connected }

    public var trouble: Trouble? {
        switch self {
        case .offline(let trouble, _), .refused(let trouble): trouble
        case .idle, .connecting, .connected: nil
        }
    }
}
