import Foundation

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// URLSession by its delegate, which is the same on macOS and Linux; `bytes(for:)` exists on Apple's systems only.
public final class URLSessionTransport: HTTPTransport, @unchecked Sendable {
    /// Answers a TLS challenge: with the client's identity, or with a judgement of the server's certificate. URLSession
    /// on Linux asks for neither. What it throws is the transfer's error: URLSession itself calls a refused challenge
    /// "cancelled", as if the user had given up.
    public typealias Authenticate =
        @Sendable (URLAuthenticationChallenge) throws -> (URLSession.AuthChallengeDisposition, URLCredential?)

    /// One connection each: the list, the open jobs' events and logs, and the metrics of a menu bar.
    static let streamsPerHost = 32

    private let base: String
    private let requests: URLSession
    private let streams: URLSession
    private let delegates: [SessionDelegate]
    private let lock = NSLock()
    private var isInvalid = false

    /// `silence` is the number of seconds without a byte after which a connection counts as lost.
    public init(
        address: URL, silence: TimeInterval = 45,
        authenticate: @escaping Authenticate = { _ in (.performDefaultHandling, nil) }
    ) {
        base = address.absoluteString.trimmingSuffix("/")
        // A delegate for each session: the tasks' numbers are the session's own.
        delegates = [SessionDelegate(authenticate), SessionDelegate(authenticate)]
        requests = Self.session(delegates[0], silence, connections: 6)
        streams = Self.session(delegates[1], silence, connections: Self.streamsPerHost)
    }

    deinit {
        // A session keeps its delegate, and both stay in memory, until it is invalidated. Who still reads may go on.
        requests.finishTasksAndInvalidate()
        streams.finishTasksAndInvalidate()
    }

    private static func session(
        _ delegate: SessionDelegate, _ silence: TimeInterval, connections: Int
    ) -> URLSession {
        let configuration = URLSessionConfiguration.ephemeral
        configuration.requestCachePolicy = .reloadIgnoringLocalCacheData
        configuration.urlCache = nil
        configuration.httpCookieStorage = nil
        configuration.httpShouldSetCookies = false
        configuration.httpMaximumConnectionsPerHost = connections
        // Linux takes the session's and not the request's.
        configuration.timeoutIntervalForRequest = silence
        // A stream lasts as long as its job; silence is what ends it.
        configuration.timeoutIntervalForResource = 366 * 86_400
        let queue = OperationQueue()
        queue.maxConcurrentOperationCount = 1
        return URLSession(configuration: configuration, delegate: delegate, delegateQueue: queue)
    }

    public func open(_ request: HTTPRequest) async throws -> (HTTPResponse, ByteStream) {
        guard let url = URL(string: base + request.target) else {
            throw TransportError.unreachable("\(base)\(request.target) is no address")
        }
        var message = URLRequest(url: url, timeoutInterval: request.silence)
        message.httpMethod = request.method
        message.httpBody = request.body
        for (name, value) in request.headers { message.setValue(value, forHTTPHeaderField: name) }
        // A session that was invalidated ends the process when it is asked for a task.
        let task = try lock.withLock {
            if isInvalid { throw TransportError.invalidated }
            return (request.isStream ? streams : requests).dataTask(with: message)
        }
        return try await delegates[request.isStream ? 1 : 0].start(task, silence: request.silence)
    }

    public func invalidate() {
        lock.withLock { isInvalid = true }
        for (session, delegate) in zip([requests, streams], delegates) {
            delegate.interruptAll(TransportError.invalidated)
            session.invalidateAndCancel()
        }
    }
}

/// Hands each task's answer to whoever opened it. Every member is behind `lock`.
final class SessionDelegate: NSObject, URLSessionDataDelegate, @unchecked Sendable {
    private struct Transfer {
        let pipe: BytePipe
        let silence: TimeInterval
        var head: CheckedContinuation<HTTPResponse, any Error>?
        /// Why a challenge was refused: the system says no more than that the task was cancelled.
        var refusal: (any Error)?
    }

    private let lock = NSLock()
    private var transfers: [Int: Transfer] = [:]
    private var end: (any Error)?
    private let authenticate: URLSessionTransport.Authenticate

    init(_ authenticate: @escaping URLSessionTransport.Authenticate) { self.authenticate = authenticate }

    func start(_ task: URLSessionDataTask, silence: TimeInterval) async throws -> (HTTPResponse, ByteStream) {
        let pipe = pipe(of: task)
        let stream = ByteStream(pipe)
        let response = try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { head in
                let refusal = lock.withLock { () -> (any Error)? in
                    if end == nil {
                        transfers[task.taskIdentifier] = Transfer(pipe: pipe, silence: silence, head: head)
                    }
                    return end
                }
                if let refusal { return head.resume(throwing: refusal) }
                task.resume()
            }
        } onCancel: {
            pipe.cancel()
        }
        return (response, stream)
    }

    private func pipe(of task: URLSessionDataTask) -> BytePipe {
        #if canImport(Darwin)
            // Advisory on Apple's systems, but it is what there is: the buffer grows by what was on its way.
            BytePipe(onPause: { task.suspend() }, onResume: { task.resume() }, onCancel: { task.cancel() })
        #else
            // On Linux, a task that was suspended and resumed crashes.
            BytePipe(onCancel: { task.cancel() })
        #endif
    }

    /// Ends all transfers with `error`, and those that are yet to come.
    func interruptAll(_ error: any Error) {
        let ended = lock.withLock {
            end = error
            defer { transfers = [:] }
            return Array(transfers.values)
        }
        for transfer in ended {
            transfer.head?.resume(throwing: error)
            transfer.pipe.interrupt(error)
        }
    }

    // MARK: URLSessionDataDelegate

    func urlSession(
        _ session: URLSession, dataTask: URLSessionDataTask, didReceive response: URLResponse,
        completionHandler: @escaping @Sendable (URLSession.ResponseDisposition) -> Void
    ) {
        let head = lock.withLock {
            defer { transfers[dataTask.taskIdentifier]?.head = nil }
            return transfers[dataTask.taskIdentifier]?.head
        }
        guard let answer = response as? HTTPURLResponse else {
            head?.resume(throwing: TransportError.lost("the answer is not HTTP"))
            return completionHandler(.cancel)
        }
        var headers: [String: String] = [:]
        for (name, value) in answer.allHeaderFields { headers["\(name)"] = "\(value)" }
        head?.resume(returning: HTTPResponse(status: answer.statusCode, headers: headers))
        completionHandler(.allow)
    }

    func urlSession(_ session: URLSession, dataTask: URLSessionDataTask, didReceive data: Data) {
        lock.withLock { transfers[dataTask.taskIdentifier]?.pipe }?.push(data)
    }

    func urlSession(_ session: URLSession, task: URLSessionTask, didCompleteWithError error: (any Error)?) {
        guard let transfer = lock.withLock({ transfers.removeValue(forKey: task.taskIdentifier) }) else { return }
        let failure = error.map {
            transfer.refusal ?? Self.meaning(of: $0, silence: transfer.silence, answered: transfer.head == nil)
        }
        transfer.head?.resume(throwing: failure ?? TransportError.lost("the connection ended without an answer"))
        transfer.pipe.finish(failure.map { .failure($0) } ?? .success(()))
    }

    func urlSession(
        _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
        newRequest request: URLRequest, completionHandler: @escaping @Sendable (URLRequest?) -> Void
    ) {
        completionHandler(nil)  // the agent sends none, and another host must not be shown the identity
    }

    // Without the session's own method, the system asks each task; so it is known whose challenge was refused.
    func urlSession(
        _ session: URLSession, task: URLSessionTask, didReceive challenge: URLAuthenticationChallenge,
        completionHandler: @escaping @Sendable (URLSession.AuthChallengeDisposition, URLCredential?) -> Void
    ) {
        do {
            let (disposition, credential) = try authenticate(challenge)
            completionHandler(disposition, credential)
        } catch {
            lock.withLock { transfers[task.taskIdentifier]?.refusal = error }
            completionHandler(.cancelAuthenticationChallenge, nil)
        }
    }

    // MARK: Errors

    static func meaning(of error: any Error, silence: TimeInterval, answered: Bool) -> any Error {
        let code = URLError.Code(rawValue: (error as NSError).code)
        let text = error.localizedDescription
        switch code {
        case .cancelled: return CancellationError()
        case .timedOut: return answered ? TransportError.silent(silence) : TransportError.unreachable(text)
        case .cannotConnectToHost, .cannotFindHost, .dnsLookupFailed, .notConnectedToInternet,
            .dataNotAllowed, .internationalRoamingOff:
            // On Linux, an answer that breaks off is told so, too.
            return answered ? TransportError.lost(text) : TransportError.unreachable(text)
        case .serverCertificateHasUnknownRoot, .serverCertificateUntrusted:
            return TransportError.serverUntrusted(.authority, text)
        case .serverCertificateHasBadDate: return TransportError.serverUntrusted(.expired, text)
        case .serverCertificateNotYetValid: return TransportError.serverUntrusted(.notYetValid, text)
        case .clientCertificateRejected, .secureConnectionFailed: return TransportError.identityRefused(text)
        case .clientCertificateRequired: return TransportError.answerWithheld(text)
        default: return TransportError.lost(text)
        }
    }
}

extension String {
    func trimmingSuffix(_ suffix: String) -> String {
        hasSuffix(suffix) ? String(dropLast(suffix.count)) : self
    }
}
