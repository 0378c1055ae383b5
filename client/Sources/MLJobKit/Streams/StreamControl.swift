import Foundation

/// What all streams of an agent share: they end when the machine goes to sleep and connect again, at once, when it
/// wakes up or when the network or the certificate is another one.
public final class StreamControl: @unchecked Sendable {
    private let lock = NSLock()
    private var isAsleep = false
    private var open: [UUID: ByteStream] = [:]
    private var waiting: [UUID: CheckedContinuation<Void, Never>] = [:]

    public init() {}

    /// How many streams are connected.
    public var count: Int { lock.withLock { open.count } }

    /// The machine is about to sleep: streams end, and no new one begins before `wake`.
    public func sleep() {
        lock.withLock { isAsleep = true }
        reconnect()
    }

    /// Streams connect at once, whatever they waited for.
    public func wake() {
        lock.withLock { isAsleep = false }
        reconnect()
        let sleepers = lock.withLock {
            defer { waiting = [:] }
            return Array(waiting.values)
        }
        for sleeper in sleepers { sleeper.resume() }
    }

    /// Ends the connections of all streams, which go on where they were over new ones.
    public func reconnect() {
        let streams = lock.withLock {
            defer { open = [:] }
            return Array(open.values)
        }
        for stream in streams { stream.interrupt(TransportError.lost("the connection was given up")) }
    }

    func add(_ stream: ByteStream) -> UUID {
        let id = UUID()
        let isAsleep = lock.withLock {
            open[id] = stream
            return self.isAsleep
        }
        if isAsleep { reconnect() }
        return id
    }

    func remove(_ id: UUID) { lock.withLock { _ = open.removeValue(forKey: id) } }

    /// Waits for `seconds`, or until `wake`; asleep, for `wake` alone. Raises `CancellationError`.
    func pause(_ seconds: TimeInterval) async throws {
        let id = UUID()
        let timer = Task {
            try await Task.sleep(for: .seconds(seconds))
            while self.lock.withLock({ self.isAsleep }) { try await Task.sleep(for: .seconds(1)) }
            self.resume(id)
        }
        defer { timer.cancel() }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                lock.withLock { waiting[id] = continuation }
                if Task.isCancelled { resume(id) }
            }
        } onCancel: {
            resume(id)
        }
        try Task.checkCancellation()
    }

    private func resume(_ id: UUID) { lock.withLock { waiting.removeValue(forKey: id) }?.resume() }
}
