import Foundation

public struct HTTPRequest: Sendable {
    public var method: String
    /// Path and query, percent-encoded, below the transport's address.
    public var target: String
    public var headers: [String: String]
    public var body: Data?
    /// Whether the answer may go on for hours. Streams must not use up the connections of other requests.
    public var isStream: Bool
    /// Seconds without a byte after which the connection counts as lost.
    public var silence: TimeInterval

    public init(
        _ method: String, _ target: String, headers: [String: String] = [:], body: Data? = nil, isStream: Bool = false,
        silence: TimeInterval = 45
    ) {
        self.method = method
        self.target = target
        // macOS hides an answer with status 403 under a client certificate: the agent then answers 400 instead.
        self.headers = headers.merging(["Prefer": "no-403"]) { given, _ in given }
        self.body = body
        self.isStream = isStream
        self.silence = silence
    }
}

public struct HTTPResponse: Sendable, Hashable {
    public let status: Int
    private let headers: [String: String]

    /// Later values of a header replace earlier ones.
    public init(status: Int, headers: [String: String]) {
        self.status = status
        self.headers = Dictionary(headers.map { ($0.lowercased(), $1) }, uniquingKeysWith: { _, last in last })
    }

    public subscript(_ name: String) -> String? { headers[name.lowercased()] }

    /// Seconds, from `Retry-After`. The agent sends no dates there.
    public var retryAfter: TimeInterval? { self["Retry-After"].flatMap(TimeInterval.init) }
}

/// Why a client does not trust a server.
public enum Distrust: String, Hashable, Sendable {
    /// No authority that the client trusts has signed its certificate.
    case authority
    /// The certificate is not for this address.
    case name
    case expired
    case notYetValid
}

public enum TransportError: Error, Hashable, Sendable {
    /// No connection came about: the host is down, the name is wrong, or there is no network.
    case unreachable(String)
    /// The connection broke before the answer was whole.
    case lost(String)
    /// Nothing arrived for that many seconds.
    case silent(TimeInterval)
    case serverUntrusted(Distrust, String)
    /// The server refused the client's certificate in the handshake.
    case identityRefused(String)
    /// The system kept the answer back. macOS is known to do so with a 403 under a client certificate.
    case answerWithheld(String)
    /// The answer is larger than that many bytes.
    case tooLarge(Int)
    /// The transport was given up, for instance because the certificate was renewed.
    case invalidated

    /// Whether the same request may be answered on another connection.
    public var mayPass: Bool {
        switch self {
        case .unreachable, .lost, .silent, .invalidated: true
        case .serverUntrusted, .identityRefused, .answerWithheld, .tooLarge: false
        }
    }
}

/// Carries requests to one server, over connections that prove both sides.
public protocol HTTPTransport: Sendable {
    /// The head of the answer, and its body as it arrives. No more than a bounded buffer is read ahead of the reader.
    /// Raises `TransportError`, or `CancellationError` where the task was cancelled.
    func open(_ request: HTTPRequest) async throws -> (HTTPResponse, ByteStream)

    /// Ends what is under way with `TransportError.invalidated`, and frees what the transport holds.
    func invalidate()
}

extension HTTPTransport {
    /// The whole answer. Raises `TransportError.tooLarge` above `limit` bytes.
    public func send(_ request: HTTPRequest, limit: Int = 64 << 20) async throws -> (HTTPResponse, Data) {
        let (response, stream) = try await open(request)
        return (response, try await stream.collect(limit: limit))
    }
}
