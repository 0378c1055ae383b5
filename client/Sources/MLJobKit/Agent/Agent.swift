import Foundation

/// One host's agent: every call of its contract.
///
/// Refusals are `Problem`, failures of the connection `TransportError`, and answers that this version does not
/// understand `NotUnderstood`.
public final class Agent: @unchecked Sendable {
    private let lock = NSLock()
    private var current: any HTTPTransport
    private var changes = 0
    private var skew: TimeInterval?

    /// All streams of this agent.
    public let streams = StreamControl()
    public let retry: RetryPolicy

    public init(transport: any HTTPTransport, retry: RetryPolicy = RetryPolicy()) {
        current = transport
        self.retry = retry
    }

    public var transport: any HTTPTransport { lock.withLock { current } }

    /// How often the transport was replaced.
    var generation: Int { lock.withLock { changes } }

    /// How far the host's clock is ahead of this one, in seconds, as its last answer said; nil before the first.
    public var clockSkew: TimeInterval? { lock.withLock { skew } }

    /// Goes on over another transport, for instance under a renewed certificate. Streams connect again behind what they
    /// have received; requests that are under way are repeated where that is safe.
    public func replaceTransport(_ transport: any HTTPTransport) {
        let old = lock.withLock {
            defer { (current, changes) = (transport, changes + 1) }
            return current
        }
        old.invalidate()
        streams.wake()
    }

    // MARK: Requests

    /// The answer's JSON. `isRepeatable` says that a second request does no harm.
    func call<Answer: Decodable>(
        _ method: String, _ target: String, body: Data? = nil, headers: [String: String] = [:],
        isRepeatable: Bool = true, as type: Answer.Type = Answer.self
    ) async throws -> Answer {
        var headers = headers
        headers["Accept"] = "application/json"
        // A change has a media type that no form of a web page has, also where nothing needs to be said.
        let body = body ?? (method == "GET" ? nil : Data("{}".utf8))
        if body != nil && headers["Content-Type"] == nil { headers["Content-Type"] = "application/json" }
        let request = HTTPRequest(method, target, headers: headers, body: body)
        let (_, data) = try await isRepeatable ? retry.run { try await self.once(request) } : once(request)
        return try Self.decode(Answer.self, from: data, of: "\(method) \(target)")
    }

    /// One request and its whole answer. Raises `Problem` where that is no success.
    func once(_ request: HTTPRequest) async throws -> (HTTPResponse, Data) {
        let (response, body) = try await transport.open(request)
        note(response)
        guard (200..<300).contains(response.status) else { throw try await Self.refusal(response, body) }
        return (response, try await body.collect(limit: 64 << 20))
    }

    private func note(_ response: HTTPResponse) {
        guard let text = response["Date"], let date = HTTPDate.parse(text) else { return }
        lock.withLock { skew = date.timeIntervalSinceNow }
    }

    static func decode<Answer: Decodable>(_ type: Answer.Type, from data: Data, of what: String) throws -> Answer {
        do {
            return try JSONDecoder.ofAgent().decode(Answer.self, from: data)
        } catch let error as DecodingError {
            throw NotUnderstood(what: what, why: error.sentence)
        }
    }

    /// What a refusal says; without a problem document, its status.
    static func refusal(_ response: HTTPResponse, _ body: ByteStream) async throws -> Problem {
        let data = try await body.collect(limit: 1 << 20)
        var problem =
            (try? JSONDecoder.ofAgent().decode(Problem.self, from: data))
            ?? Problem(
                code: "no-problem-document", title: "HTTP \(response.status)", status: response.status,
                detail: "The server answered \(response.status) without saying why.",
                hint: "Is this the address of an ML job agent?")
        problem.retryAfter = response.retryAfter
        return problem
    }
}

/// An answer that is not what this version of the contract says.
public struct NotUnderstood: Error, Hashable, Sendable, CustomStringConvertible {
    /// The call or the event.
    public let what: String
    public let why: String
    public var description: String { "The answer to \(what) was not understood: \(why)" }
}

extension DecodingError {
    var sentence: String {
        func path(_ context: Context) -> String { context.codingPath.map(\.stringValue).joined(separator: ".") }
        return switch self {
        case .keyNotFound(let key, let context): "\(path(context)) has no member \(key.stringValue)"
        case .typeMismatch(let type, let context): "\(path(context)) is no \(type)"
        case .valueNotFound(_, let context): "\(path(context)) has no value"
        case .dataCorrupted(let context): context.debugDescription
        @unknown default: "\(self)"
        }
    }
}

/// The date of an HTTP header, `Sun, 06 Nov 1994 08:49:37 GMT`.
enum HTTPDate {
    static func parse(_ text: String) -> Date? {
        let style = Date.VerbatimFormatStyle(
            format: """
                \(weekday: .abbreviated), \(day: .twoDigits) \(month: .abbreviated) \(year: .defaultDigits) \
                \(hour: .twoDigits(clock: .twentyFourHour, hourCycle: .zeroBased)):\(minute: .twoDigits):\
                \(second: .twoDigits) GMT
                """,
            locale: Locale(identifier: "en_US_POSIX"), timeZone: .gmt, calendar: Calendar(identifier: .gregorian))
        return try? Date(text, strategy: style.parseStrategy)
    }
}

/// Percent-encoding for paths and queries.
enum URLPart {
    private static let unreserved = CharacterSet(
        charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

    static func encode(_ text: String) -> String {
        text.addingPercentEncoding(withAllowedCharacters: unreserved) ?? ""
    }

    /// A path keeps its slashes.
    static func path(_ parts: [String]) -> String { parts.map(encode).joined(separator: "/") }

    /// `?a=1&b=2`, without members that have no value; empty where none has.
    static func query(_ members: KeyValuePairs<String, String?>) -> String {
        let given = members.compactMap { name, value in value.map { "\(name)=\(encode($0))" } }
        return given.isEmpty ? "" : "?" + given.joined(separator: "&")
    }
}
