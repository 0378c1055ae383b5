import Foundation

/// How often a request that may be repeated is repeated, and when.
public struct RetryPolicy: Sendable {
    public var attempts: Int
    public var backoff: Backoff
    /// A longer `Retry-After` is the user's to wait for.
    public var longestWait: TimeInterval

    public init(attempts: Int = 5, backoff: Backoff = Backoff(), longestWait: TimeInterval = 20) {
        self.attempts = attempts
        self.backoff = backoff
        self.longestWait = longestWait
    }

    /// Runs `request` until it is answered, refused for good, or has failed `attempts` times.
    public func run<Answer: Sendable>(_ request: @Sendable () async throws -> Answer) async throws -> Answer {
        var backoff = backoff
        for _ in 1..<max(attempts, 1) {
            do {
                return try await request()
            } catch {
                let asked = try wait(after: error)
                try await Task.sleep(for: .seconds(backoff.delay(atLeast: asked)))
            }
        }
        return try await request()
    }

    /// Seconds that the server asks to wait. Raises `error` where repeating is useless.
    private func wait(after error: any Error) throws -> TimeInterval {
        switch error {
        case TransportError.lost, TransportError.silent, TransportError.invalidated: return 0
        case let problem as Problem where problem.status == 429 || problem.status == 503:
            let asked = problem.retryAfter ?? 0
            guard asked <= longestWait else { throw error }
            return asked
        default: throw error
        }
    }
}
