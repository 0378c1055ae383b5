import Foundation

/// The chunks of a body, for one reader. Dropping the stream ends its transfer.
public struct ByteStream: AsyncSequence, Sendable {
    public typealias Element = Data

    fileprivate final class Lease: Sendable {
        let pipe: BytePipe
        init(_ pipe: BytePipe) { self.pipe = pipe }
        deinit { pipe.cancel() }
    }

    private let lease: Lease

    public init(_ pipe: BytePipe) { lease = Lease(pipe) }

    public struct Iterator: AsyncIteratorProtocol {
        private let lease: Lease
        fileprivate init(_ lease: Lease) { self.lease = lease }
        /// Raises `TransportError`, or `CancellationError` once the task was cancelled.
        public func next() async throws -> Data? { try await lease.pipe.next() }
    }

    public func makeAsyncIterator() -> Iterator { Iterator(lease) }

    /// Ends the transfer from outside; the reader gets `error`.
    func interrupt(_ error: any Error) { lease.pipe.interrupt(error) }

    /// All chunks as one. Raises `TransportError.tooLarge` above `limit` bytes.
    public func collect(limit: Int) async throws -> Data {
        var body = Data()
        for try await chunk in self {
            guard body.count + chunk.count <= limit else { throw TransportError.tooLarge(limit) }
            body.append(chunk)
        }
        return body
    }
}

/// Between a transfer, which pushes, and a reader, who pulls. Every member is behind `lock`.
public final class BytePipe: @unchecked Sendable {
    private let lock = NSCondition()
    private let capacity: Int
    private var chunks: [Data] = []
    private var size = 0
    private var isPaused = false
    private var isClosed = false
    private var end: Result<Void, any Error>?
    private var reader: CheckedContinuation<Data?, any Error>?
    private let onPause: @Sendable () -> Void
    private let onResume: @Sendable () -> Void
    private let onCancel: @Sendable () -> Void

    /// `onPause` is called when `capacity` bytes wait for the reader, `onResume` when none do any more, and `onCancel`
    /// when nobody wants the rest.
    public init(
        capacity: Int = 256 << 10, onPause: @escaping @Sendable () -> Void = {},
        onResume: @escaping @Sendable () -> Void = {}, onCancel: @escaping @Sendable () -> Void = {}
    ) {
        self.capacity = capacity
        self.onPause = onPause
        self.onResume = onResume
        self.onCancel = onCancel
    }

    /// Whether nobody wants more.
    public var isCancelled: Bool { lock.withLock { isClosed } }
    /// The error with which the stream was ended from outside.
    public var interruption: (any Error)? {
        lock.withLock {
            guard isClosed, case .failure(let error) = end else { return nil }
            return error
        }
    }
    /// Bytes that wait for the reader.
    public var waiting: Int { lock.withLock { size } }

    /// Hands over a chunk without waiting for the reader.
    public func push(_ data: Data) {
        let after = lock.withLock { () -> @Sendable () -> Void in
            if isClosed || end != nil || data.isEmpty { return {} }
            if let reader {
                self.reader = nil
                return { reader.resume(returning: data) }
            }
            chunks.append(data)
            size += data.count
            guard size >= capacity, !isPaused else { return {} }
            isPaused = true
            return onPause
        }
        after()
    }

    /// Waits for room first, which only a transfer's own thread may do. False where nobody wants more.
    public func pushWaiting(_ data: Data) -> Bool {
        lock.lock()
        while size >= capacity && !isClosed { lock.wait() }
        let isWanted = !isClosed
        lock.unlock()
        if isWanted { push(data) }
        return isWanted
    }

    /// Ends the stream behind what was pushed.
    public func finish(_ result: Result<Void, any Error>) {
        let waiting: CheckedContinuation<Data?, any Error>? = lock.withLock {
            if end == nil { end = result }
            guard chunks.isEmpty else { return nil }
            defer { reader = nil }
            return reader
        }
        waiting?.resume(with: result.map { nil })
    }

    /// Ends the stream at once for its reader, who gets `error`, and the transfer.
    public func interrupt(_ error: any Error) { close(.failure(error)) }

    /// Ends the transfer: nobody wants the rest.
    public func cancel() { close(.failure(CancellationError())) }

    private func close(_ result: Result<Void, any Error>) {
        let (waiting, isUnfinished) = lock.withLock {
            let isUnfinished = end == nil && !isClosed
            if !isClosed { end = result }
            isClosed = true
            chunks = []
            size = 0
            lock.broadcast()
            defer { reader = nil }
            return (reader, isUnfinished)
        }
        waiting?.resume(with: result.map { nil })
        if isUnfinished { onCancel() }
    }

    func next() async throws -> Data? {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { take($0) }
        } onCancel: {
            cancel()
        }
    }

    private func take(_ continuation: CheckedContinuation<Data?, any Error>) {
        lock.lock()
        if !chunks.isEmpty {
            let data = takeAll()
            let wasPaused = isPaused
            isPaused = false
            lock.broadcast()
            lock.unlock()
            if wasPaused { onResume() }
            return continuation.resume(returning: data)
        }
        if let end {
            lock.unlock()
            return continuation.resume(with: end.map { nil })
        }
        precondition(reader == nil, "a ByteStream has one reader")
        reader = continuation
        lock.unlock()
    }

    /// All there is at once: each chunk of a few bytes would cost a change of tasks.
    private func takeAll() -> Data {
        let data = chunks.count == 1 ? chunks[0] : chunks.reduce(into: Data(capacity: size)) { $0.append($1) }
        chunks.removeAll(keepingCapacity: true)
        size = 0
        return data
    }
}
