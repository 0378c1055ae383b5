import Foundation

@testable import MLJobKit

/// Answers by script, in this process: for what a real agent does not show at will.
final class ScriptedTransport: HTTPTransport, @unchecked Sendable {
    struct Answer: Sendable {
        var status = 200
        var headers: [String: String] = [:]
        var body: [Data] = []
        /// How the body ends: nil to keep it open.
        var end: Result<Void, TransportError>? = .success(())

        static func json(_ text: String, status: Int = 200, headers: [String: String] = [:]) -> Answer {
            Answer(status: status, headers: headers, body: [Data(text.utf8)])
        }

        static func problem(
            _ status: Int, _ code: String, _ detail: String = "No.", hint: String? = nil,
            fields: [String: String] = [:],
            headers: [String: String] = [:]
        ) -> Answer {
            var document: [String: Any] = [
                "type": "urn:ml-agent:problem:\(code)", "title": code, "status": status, "detail": detail,
                "errors": fields.map { ["field": $0, "message": $1] },
            ]
            document["hint"] = hint
            return json(Sample.json(document), status: status, headers: headers)
        }

        /// A stream of events that is cut off.
        static func cut(_ events: String...) -> Answer {
            Answer(body: events.map { Data($0.utf8) }, end: .failure(.lost("cut")))
        }

        /// A stream of events that stays open.
        static func open(_ events: String...) -> Answer { Answer(body: events.map { Data($0.utf8) }, end: nil) }

        /// A stream of events that the server ends.
        static func whole(_ events: String...) -> Answer { Answer(body: events.map { Data($0.utf8) }) }
    }

    typealias Handler = @Sendable (HTTPRequest, _ count: Int) throws -> Answer

    private let lock = NSLock()
    private let handler: Handler
    private var asked: [HTTPRequest] = []
    private var pipes: [BytePipe] = []
    private var isInvalid = false

    /// `count` is how many requests came before.
    init(_ handler: @escaping Handler) { self.handler = handler }

    /// Answers in that order; the last one again and again.
    convenience init(_ answers: Answer...) {
        self.init { _, count in answers[min(count, answers.count - 1)] }
    }

    var requests: [HTTPRequest] { lock.withLock { asked } }
    var isInvalidated: Bool { lock.withLock { isInvalid } }
    /// How many bodies are still read.
    var openCount: Int { lock.withLock { pipes.count { !$0.isCancelled } } }

    func open(_ request: HTTPRequest) async throws -> (HTTPResponse, ByteStream) {
        try Task.checkCancellation()
        let count = try lock.withLock {
            if isInvalid { throw TransportError.invalidated }
            defer { asked.append(request) }
            return asked.count
        }
        let answer = try handler(request, count)
        let pipe = BytePipe()
        for chunk in answer.body { pipe.push(chunk) }
        if let end = answer.end {
            pipe.finish(end.mapError { $0 })
        } else {
            lock.withLock { pipes.append(pipe) }
        }
        return (HTTPResponse(status: answer.status, headers: answer.headers), ByteStream(pipe))
    }

    /// Sends more on all bodies that are open.
    func push(_ text: String) { for pipe in lock.withLock({ pipes }) { pipe.push(Data(text.utf8)) } }

    /// Cuts all bodies that are open.
    func cut() {
        let all = lock.withLock {
            defer { pipes = [] }
            return pipes
        }
        for pipe in all { pipe.finish(.failure(TransportError.lost("cut"))) }
    }

    func invalidate() {
        let all = lock.withLock {
            isInvalid = true
            return pipes
        }
        for pipe in all { pipe.interrupt(TransportError.invalidated) }
    }
}

extension Backoff {
    /// For tests, which have no time.
    static let quick = Backoff(first: 0.001, most: 0.005)
}

extension Agent {
    convenience init(_ transport: ScriptedTransport) {
        self.init(transport: transport, retry: RetryPolicy(backoff: .quick))
    }
}
