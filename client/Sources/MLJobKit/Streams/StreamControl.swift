import Foundation

/// What all streams of an agent share: they end when the machine goes to sleep and connect again, at once, when it
/// wakes up or when the network or the certificate is another one.
public final class StreamControl: @unchecked Sendable {
    private enum Pause {
        case begun
        case waiting(CheckedContinuation<Void, Never>)
        /// Over before it was waited for.
        case over
    }

    private let lock = NSLock()
    private var isAsleep = false
    private var open: [UUID: ByteStream] = [:]
    private var pauses: [UUID: Pause] = [:]
    private var wakes = 0

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
        lock.withLock {
            isAsleep = false
            wakes += 1
        }
        reconnect()
        for id in lock.withLock({ Array(pauses.keys) }) { end(id) }
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

    /// How often the streams were woken up.
    var wakeCount: Int { lock.withLock { wakes } }

    /// Waits for `seconds`, or until `wake`; asleep, for `wake` alone. `since` is the `wakeCount` of which the
    /// caller knows: a later one has ended the pause before it begins. Raises `CancellationError`.
    func pause(_ seconds: TimeInterval, since: Int) async throws {
        let id = UUID()
        lock.withLock { pauses[id] = wakes == since ? .begun : .over }
        let timer = Task {
            try await Task.sleep(for: .seconds(seconds))
            while self.lock.withLock({ self.isAsleep }) { try await Task.sleep(for: .seconds(1)) }
            self.end(id)
        }
        defer {
            timer.cancel()
            lock.withLock { _ = pauses.removeValue(forKey: id) }
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { wait(id, $0) }
        } onCancel: {
            end(id)
        }
        try Task.checkCancellation()
    }

    private func wait(_ id: UUID, _ continuation: CheckedContinuation<Void, Never>) {
        let isOver = lock.withLock {
            if case .over? = pauses[id] { return true }
            pauses[id] = .waiting(continuation)
            return false
        }
        if isOver { continuation.resume() }
    }

    private func end(_ id: UUID) {
        let waiting = lock.withLock { () -> CheckedContinuation<Void, Never>? in
            guard let pause = pauses[id] else { return nil }
            pauses[id] = .over
            guard case .waiting(let continuation) = pause else { return nil }
            return continuation
        }
        waiting?.resume()
    }
}
