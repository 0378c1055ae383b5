import Foundation

/// What a stream tells its reader.
public enum StreamItem: Sendable {
    /// A connection was made. What follows goes on behind the last event that had an id.
    case connected
    case event(ServerSentEvent)
    /// The connection was lost; the stream tries again after `retryIn` seconds.
    case interrupted(any Error, retryIn: TimeInterval)
}

/// Server-sent events over as many connections as it takes. It ends only where its reader stops, or with the error
/// that makes asking again useless.
///
/// Pulled by its reader: it has no task of its own, and nothing is queued but the transport's bounded buffer.
public struct EventStream: AsyncSequence, Sendable {
    public typealias Element = StreamItem

    let agent: Agent
    let target: String
    var lastID: String?
    var accept = "text/event-stream"
    var backoff = Backoff()

    public func makeAsyncIterator() -> Iterator { Iterator(self) }

    public struct Iterator: AsyncIteratorProtocol {
        private let source: EventStream
        private var backoff: Backoff
        private var parser = EventParser()
        private var ready: ArraySlice<ServerSentEvent> = []
        private var chunks: ByteStream.Iterator?
        private var lease: StreamLease?
        private var pending: TimeInterval?
        /// The agent's `wakeCount` when the last connection was begun.
        private var wakeCount = 0
        private var generation = 0
        /// The id of the last event that arrived whole.
        public private(set) var lastID: String?

        init(_ source: EventStream) {
            self.source = source
            backoff = source.backoff
            lastID = source.lastID
        }

        /// Raises the error that ends the stream, or `CancellationError`.
        public mutating func next() async throws -> StreamItem? {
            while true {
                if let event = ready.popFirst() {
                    if let id = event.id { lastID = id }
                    return .event(event)
                }
                do {
                    if chunks == nil { return try await connect() }
                    guard let chunk = try await chunks?.next() else { throw TransportError.lost("the stream ended") }
                    // Comments count, too: they are what an idle stream consists of.
                    backoff.reset()
                    ready = try parser.feed(chunk)[...]
                } catch {
                    return try interruption(by: error)
                }
            }
        }

        /// The reader has seen the stream's own end, such as `end` or `pause`.
        public mutating func close() {
            chunks = nil
            lease = nil
            ready = []
        }

        /// An `error` event ends the connection, and the stream where its status says so.
        public mutating func fail(_ problem: Problem) throws -> StreamItem {
            try interruption(by: problem)
        }

        private mutating func connect() async throws -> StreamItem {
            if let delay = pending {
                try await source.agent.streams.pause(delay, since: wakeCount)
                pending = nil
            }
            wakeCount = source.agent.streams.wakeCount
            generation = source.agent.generation
            var headers = ["Accept": source.accept]
            headers["Last-Event-ID"] = lastID
            let request = HTTPRequest("GET", source.target, headers: headers, isStream: true)
            let (response, body) = try await source.agent.transport.open(request)
            guard response.status == 200 else { throw try await Agent.refusal(response, body) }
            parser = EventParser()  // half an event is not continued
            lease = StreamLease(source.agent.streams, body)
            chunks = body.makeAsyncIterator()
            return .connected
        }

        private mutating func interruption(by error: any Error) throws -> StreamItem {
            close()
            try Task.checkCancellation()
            guard mayPass(error) else { throw error }
            let delay = backoff.delay(atLeast: (error as? Problem)?.retryAfter ?? 0)
            pending = delay
            return .interrupted(error, retryIn: delay)
        }

        private func mayPass(_ error: any Error) -> Bool {
            switch error {
            case let problem as Problem:
                // A certificate that was renewed meanwhile may be taken where the old one was not.
                let isRefused = problem.status == 403 || problem.code == "certificate-refused"
                return problem.mayPass || (isRefused && generation != source.agent.generation)
            case let transport as TransportError: return transport.mayPass
            default: return false
            }
        }
    }
}

/// Keeps a connected stream in its agent's list for as long as it is read.
private final class StreamLease: Sendable {
    private let control: StreamControl
    private let id: UUID

    init(_ control: StreamControl, _ stream: ByteStream) {
        self.control = control
        id = control.add(stream)
    }

    deinit { control.remove(id) }
}
