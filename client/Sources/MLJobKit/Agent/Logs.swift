import Foundation

/// Which part of a log is told.
public struct LogQuery: Sendable, Hashable {
    /// Of what there is, the last lines; then what comes.
    public var tail: Int?
    /// Behind the event with this id.
    public var since: String?
    /// A regular expression of Rust's regex crate, up to 128 characters.
    public var grep: String?

    public init(tail: Int? = nil, since: String? = nil, grep: String? = nil) {
        self.tail = tail
        self.since = since
        self.grep = grep
    }
}

/// What the stream of a log tells.
public enum LogItem: Sendable {
    case connected
    case line(LogLine)
    case gap(LogGap)
    /// The job as it is, at the start of each connection and whenever its state changes.
    case state(Job)
    case waiting(QueuePlace)
    case interrupted(any Error, retryIn: TimeInterval)
    /// Nothing follows.
    case end(Job)
}

extension Agent {
    /// Every line of a job's log once and in order, to the job's end, over as many connections as it takes.
    public func log(_ id: String, _ query: LogQuery = LogQuery(), backoff: Backoff = Backoff()) -> LogStream {
        let parts = URLPart.query(["tail": query.tail.map(String.init), "grep": query.grep])
        let target = "/jobs/\(URLPart.encode(id))/logs\(parts)"
        return LogStream(events: EventStream(agent: self, target: target, lastID: query.since, backoff: backoff))
    }

    /// The job's own output so far, byte for byte. The stream ends with an error where it is not whole.
    public func plainLog(_ id: String) async throws -> ByteStream {
        let request = HTTPRequest(
            "GET", "/jobs/\(URLPart.encode(id))/logs", headers: ["Accept": "text/plain"], isStream: true)
        return try await retry.run {
            let (response, body) = try await self.transport.open(request)
            guard response.status == 200 else { throw try await Self.refusal(response, body) }
            return body
        }
    }
}

public struct LogStream: AsyncSequence, Sendable {
    public typealias Element = LogItem
    let events: EventStream

    public func makeAsyncIterator() -> Iterator { Iterator(events: events.makeAsyncIterator()) }

    public struct Iterator: AsyncIteratorProtocol {
        fileprivate var events: EventStream.Iterator
        private let decoder = JSONDecoder.ofAgent()
        private var isEnded = false
        private var failure: Problem?

        fileprivate init(events: EventStream.Iterator) { self.events = events }

        /// The id of the last line or gap that arrived whole.
        public var lastID: String? { events.lastID }

        public mutating func next() async throws -> LogItem? {
            while !isEnded {
                guard let item = try await events.next() else { return nil }
                switch item {
                case .connected: return .connected
                case .interrupted(let error, let delay): return .interrupted(error, retryIn: delay)
                case .event(let event):
                    if let known = try known(event) { return known }
                }
            }
            return nil
        }

        private mutating func known(_ event: ServerSentEvent) throws -> LogItem? {
            switch event.name {
            case "line": return .line(try LineScanner.line(event.data) ?? decode(LogLine.self, event))
            case "gap": return .gap(try decode(LogGap.self, event))
            case "state": return .state(try decode(Job.self, event))
            case "waiting": return .waiting(try decode(QueuePlace.self, event))
            case "end", "pause":
                isEnded = true
                events.close()
                return .end(try decode(Job.self, event))
            case "error":
                if case .interrupted(let error, let delay) = try events.fail(StreamError.problem(event)) {
                    return .interrupted(error, retryIn: delay)
                }
                return nil
            default: return nil  // of a later version
            }
        }

        private func decode<Value: Decodable>(_ type: Value.Type, _ event: ServerSentEvent) throws -> Value {
            do {
                return try decoder.decode(Value.self, from: event.data)
            } catch let error as DecodingError {
                throw NotUnderstood(what: "a `\(event.name)` event", why: error.sentence)
            }
        }
    }
}

/// The problem document of an `error` event, with its `retry` in milliseconds.
enum StreamError {
    private struct Retry: Decodable { let retry: Double? }

    static func problem(_ event: ServerSentEvent) throws -> Problem {
        var problem = try Agent.decode(Problem.self, from: event.data, of: "an `error` event")
        problem.retryAfter = (try? JSONDecoder().decode(Retry.self, from: event.data))?.retry.map { $0 / 1000 }
        return problem
    }
}
