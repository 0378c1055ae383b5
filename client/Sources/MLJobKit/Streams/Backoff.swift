import Foundation

/// How long to wait before the next connection: 0.2 s at first, twice as long each time, 10 s at the most.
public struct Backoff: Sendable {
    public var first: TimeInterval
    public var most: TimeInterval
    /// Many clients that lost the same agent must not come back at the same moment.
    public var jitter: ClosedRange<Double>
    private var next: TimeInterval

    public init(first: TimeInterval = 0.2, most: TimeInterval = 10, jitter: ClosedRange<Double> = 0.75...1.25) {
        self.first = first
        self.most = most
        self.jitter = jitter
        next = first
    }

    /// The delay now, which doubles the next one. A server's `Retry-After` is the least.
    public mutating func delay(atLeast: TimeInterval = 0) -> TimeInterval {
        defer { next = min(next * 2, most) }
        return max(next * Double.random(in: jitter), atLeast)
    }

    /// Something arrived: begin anew.
    public mutating func reset() { next = first }
}
