import Foundation

/// What the streams of jobs tell.
public enum JobEvent: Sendable {
    case connected
    /// What was known before counts no more; all there is follows, up to `current`.
    case reset
    case job(Job)
    /// A sweep that is new or has changed; after a connection, first the newest ones.
    case sweep(Sweep)
    case removed(String)
    /// Everything up to here has been told.
    case current
    case queue(JobQueuePlace)
    case progress(JobProgress)
    case metric(JobMetric)
    case interrupted(any Error, retryIn: TimeInterval)
    /// One job's stream: nothing follows.
    case end(Job)
}

extension Agent {
    /// All jobs that one may see, and every change of them. The snapshot at the beginning has `ended` of those that
    /// have ended.
    public func events(ended: Int = 100, since lastID: String? = nil, backoff: Backoff = Backoff()) -> JobEventStream {
        JobEventStream(
            events: EventStream(agent: self, target: "/events?ended=\(ended)", lastID: lastID, backoff: backoff))
    }

    /// One job and every change of it, to its end.
    public func events(of id: String, backoff: Backoff = Backoff()) -> JobEventStream {
        JobEventStream(
            events: EventStream(agent: self, target: "/jobs/\(URLPart.encode(id))/events", backoff: backoff))
    }
}

public struct JobEventStream: AsyncSequence, Sendable {
    public typealias Element = JobEvent
    let events: EventStream

    public func makeAsyncIterator() -> Iterator { Iterator(events: events.makeAsyncIterator()) }

    public struct Iterator: AsyncIteratorProtocol {
        private var events: EventStream.Iterator
        private let decoder = JSONDecoder.ofAgent()
        private var isEnded = false

        fileprivate init(events: EventStream.Iterator) { self.events = events }

        public var lastID: String? { events.lastID }

        public mutating func next() async throws -> JobEvent? {
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

        private mutating func known(_ event: ServerSentEvent) throws -> JobEvent? {
            switch event.name {
            case "reset": return .reset
            case "job": return .job(try decode(Job.self, event))
            case "sweep": return .sweep(try decode(Sweep.self, event))
            case "removed": return .removed(try decode(JobRemoved.self, event).jobID)
            case "current": return .current
            case "queue": return .queue(try decode(JobQueuePlace.self, event))
            case "progress": return .progress(try decode(JobProgress.self, event))
            case "metric": return .metric(try decode(JobMetric.self, event))
            case "end":
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
