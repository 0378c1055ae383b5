#if os(Linux)  // openssl(1) and libcurl
    import Foundation
    import MLJobKitCurl
    import Testing

    @testable import MLJobKit

    /// A server for faults that the real agent does not show; `Fixtures/server.py` says which.
    final class TestServer: Sendable {
        private let process: Process
        private let input: Pipe
        let ports: [String: Int]

        init(_ folder: URL, plain: Bool = false) throws {
            let script = try #require(Bundle.module.url(forResource: "Fixtures/server.py", withExtension: nil))
            let (process, input, output) = (Process(), Pipe(), Pipe())
            process.executableURL = URL(fileURLWithPath: "/usr/bin/python3")
            process.arguments = [script.path, folder.path] + (plain ? ["--plain"] : [])
            process.standardInput = input
            process.standardOutput = output
            try process.run()
            var text = ""
            while !text.hasSuffix("ready\n") {
                let data = output.fileHandleForReading.availableData
                guard !data.isEmpty else { throw CocoaError(.featureUnsupported, userInfo: ["server": text]) }
                text += String(decoding: data, as: UTF8.self)
            }
            let words = text.split(separator: "\n").map { $0.split(separator: " ") }.filter { $0.count == 2 }
            ports = Dictionary(
                uniqueKeysWithValues: words.compactMap { pair in Int(pair[1]).map { (String(pair[0]), $0) } })
            (self.process, self.input) = (process, input)
        }

        deinit {
            try? input.fileHandleForWriting.close()
            process.waitUntilExit()
        }

        func address(_ name: String, host: String = "localhost", scheme: String = "https") throws -> URL {
            let port = try #require(ports[name])
            return try #require(URL(string: "\(scheme)://\(host):\(port)"))
        }
    }

    /// An answer of the server's `/echo`.
    struct Echo: Decodable {
        let method: String
        let path: String
        let headers: [String: String]
        let body: String
        let subject: [[String]]
    }

    /// Both transports must pass these: over TLS with libcurl, and without TLS with URLSession.
    struct TransportChecks {
        let transport: any HTTPTransport

        func echo(_ request: HTTPRequest) async throws -> Echo {
            let (response, data) = try await transport.send(request)
            #expect(
                response.status == 200 && response["content-type"] == "application/json" && response["X-Twice"] == "1")
            return try JSONDecoder().decode(Echo.self, from: data)
        }

        func requestsArrive() async throws {
            let get = try await echo(
                HTTPRequest("GET", "/echo?a=%20b", headers: ["X-Mine": "yes", "Accept": "application/json"]))
            #expect(get.method == "GET" && get.path == "/echo?a=%20b" && get.headers["x-mine"] == "yes")
            let body = Data(String(repeating: "é", count: 5000).utf8)
            let put = try await echo(HTTPRequest("PUT", "/echo", headers: ["Content-Type": "text/x"], body: body))
            #expect(put.method == "PUT" && put.body.utf8.count == 10_000 && put.headers["content-type"] == "text/x")
            let post = try await echo(HTTPRequest("POST", "/echo", body: Data()))
            #expect(post.method == "POST" && post.body.isEmpty)
            #expect(try await echo(HTTPRequest("DELETE", "/echo")).method == "DELETE")
        }

        func refusalsAndRedirectsAreAnswers() async throws {
            for status in [302, 403, 422, 503] {
                let target = status == 302 ? "/redirect" : "/status/\(status)"
                #expect(try await transport.send(HTTPRequest("GET", target)).0.status == status)
            }
            let problem = await caught(Problem.self) {
                try await Agent(transport: transport).once(HTTPRequest("GET", "/status/403"))
            }
            #expect(problem?.code == "planted" && problem?.detail == "Planted.")
        }

        func aCutAnswerIsLost() async throws {
            for count in [0, 1, 50_000] {
                let (response, stream) = try await transport.open(HTTPRequest("GET", "/cut/\(count)"))
                #expect(response.status == 200)
                var received = 0
                let error = await caught(TransportError.self) {
                    for try await chunk in stream { received += chunk.count }
                }
                guard case .lost? = error else { return #expect(Bool(false), "\(error as Any)") }
                #expect(received == count)
            }
        }

        func garbageIsNoAnswer() async throws {
            let error = await caught(TransportError.self) { try await transport.send(HTTPRequest("GET", "/garbage")) }
            #expect(error?.mayPass == true)
        }

        func cancellationEndsARequest() async throws {
            let waiting = Task { try await transport.send(HTTPRequest("GET", "/headless")) }
            try await Task.sleep(for: .milliseconds(200))
            let began = ContinuousClock.now
            waiting.cancel()
            await #expect(throws: CancellationError.self) { try await waiting.value }
            #expect(ContinuousClock.now - began < .seconds(5))
        }

        func invalidationEndsAll() async throws {
            let (_, stream) = try await transport.open(HTTPRequest("GET", "/silent", isStream: true))
            let reader = Task { try await stream.collect(limit: 10) }
            try await Task.sleep(for: .milliseconds(100))
            transport.invalidate()
            await #expect(throws: TransportError.invalidated) { try await reader.value }
            await #expect(throws: TransportError.invalidated) { try await transport.send(HTTPRequest("GET", "/echo")) }
        }
    }

    @Suite(.timeLimit(.minutes(5)), .serialized) struct CurlTransportTests {
        /// Made once: keys and servers take a second.
        struct Site: Sendable {
            let pki: PKI
            let server: TestServer
            let servers: Scratch

            init() throws {
                pki = try PKI()
                servers = try Scratch()
                try pki.client()
                try pki.client("mallory", by: "foreign")
                try pki.client("past", dates: "-not_before 20250101000000Z -not_after 20250201000000Z")
                let names: [(String, String, String, String)] = [
                    ("good", "localhost", "ca", "-days 10"), ("open", "localhost", "ca", "-days 10"),
                    ("open-alone", "localhost", "ca", "-days 10"), ("open-foreign", "localhost", "foreign", "-days 10"),
                    ("othername", "elsewhere.example", "ca", "-days 10"),
                    ("stranger", "localhost", "foreign", "-days 10"),
                    ("expired", "localhost", "ca", "-not_before 20250101000000Z -not_after 20250201000000Z"),
                    ("future", "localhost", "ca", "-not_before 20500101000000Z -not_after 20510101000000Z"),
                ]
                for (name, host, authority, dates) in names {
                    try pki.server(name, host: host, by: authority, dates: dates)
                    let chain = try name == "open-alone" ? pki.pem(name) : pki.pem(name) + pki.pem(authority)
                    try chain.write(to: servers.file("\(name).crt"))
                    try pki.key(of: name).write(to: servers.file("\(name).key"))
                }
                try pki.pem("ca").write(to: servers.file("ca.crt"))
                server = try TestServer(servers.url)
            }

            func transport(_ name: String = "good", as user: String? = "alice", host: String = "localhost") throws
                -> CurlTransport
            {
                CurlTransport(
                    address: try server.address(name, host: host), authorities: try pki.pem("ca"),
                    identity: try user.map(pki.identity))
            }
        }

        static let made = Result { try Site() }
        let site: Site

        init() throws { site = try Self.made.get() }

        @Test func requestsArrive() async throws {
            try await TransportChecks(transport: site.transport()).requestsArrive()
        }
        @Test func refusalsAndRedirectsAreAnswers() async throws {
            try await TransportChecks(transport: site.transport()).refusalsAndRedirectsAreAnswers()
        }
        @Test func aCutAnswerIsLost() async throws {
            try await TransportChecks(transport: site.transport()).aCutAnswerIsLost()
        }
        @Test func garbageIsNoAnswer() async throws {
            try await TransportChecks(transport: site.transport()).garbageIsNoAnswer()
        }
        @Test func cancellationEndsARequest() async throws {
            try await TransportChecks(transport: site.transport()).cancellationEndsARequest()
        }
        @Test func invalidationEndsAll() async throws {
            try await TransportChecks(transport: site.transport()).invalidationEndsAll()
        }

        @Test func theClientShowsItsCertificate() async throws {
            let echo = try await TransportChecks(transport: site.transport()).echo(HTTPRequest("GET", "/echo"))
            #expect(echo.subject == [["commonName", "alice"]])
        }

        @Test func headHasNoBody() async throws {
            let (response, data) = try await site.transport().send(HTTPRequest("HEAD", "/echo"))
            #expect(response.status == 200 && data.isEmpty)
        }

        @Test func aConnectionIsUsedAgain() async throws {
            let transport = try site.transport()
            for _ in 0..<10 { _ = try await transport.send(HTTPRequest("GET", "/echo")) }
            #expect(transport.connectionCount == 1)
        }

        @Test func silenceIsLoss() async throws {
            let transport = try site.transport()
            let (_, stream) = try await transport.open(HTTPRequest("GET", "/silent", silence: 1))
            let began = ContinuousClock.now
            await #expect(throws: TransportError.silent(1)) { try await stream.collect(limit: 10) }
            #expect(ContinuousClock.now - began < .seconds(5))
            await #expect(throws: TransportError.silent(1)) {
                try await transport.send(HTTPRequest("GET", "/headless", silence: 1))
            }
        }

        @Test func aSlowReaderIsNoSilence() async throws {
            let (_, stream) = try await site.transport().open(HTTPRequest("GET", "/slow/200", silence: 1))
            let iterator = stream.makeAsyncIterator()
            var received = try await iterator.next()?.count ?? 0
            try await Task.sleep(for: .seconds(2.5))
            while let chunk = try await iterator.next() {
                #expect(chunk.count < 1 << 20, "no more than the buffer is read ahead")
                received += chunk.count
            }
            #expect(received == 200 << 16)
        }

        @Test func leavingAStreamEndsItsThread() async throws {
            let transport = try site.transport()
            for _ in 0..<8 {
                let (_, stream) = try await transport.open(HTTPRequest("GET", "/slow/1000", isStream: true))
                for try await _ in stream { break }
            }
            try await eventually {
                let threads = try String(contentsOfFile: "/proc/self/status", encoding: .utf8).split(separator: "\n")
                    .first { $0.hasPrefix("Threads:") }?.split(separator: "\t").last.flatMap { Int($0) }
                return (threads ?? 99) < 24
            }
        }

        // MARK: Who trusts whom

        @Test(arguments: [
            ("stranger", Distrust.authority), ("othername", .name), ("expired", .expired), ("future", .notYetValid),
        ]) func aServerThatIsNotTrusted(_ name: String, _ reason: Distrust) async throws {
            let error = await caught(TransportError.self) {
                try await site.transport(name).send(HTTPRequest("GET", "/echo"))
            }
            guard case .serverUntrusted(reason, let text)? = error else {
                return #expect(Bool(false), "\(error as Any)")
            }
            #expect(!text.isEmpty)
        }

        @Test func anAddressThatTheCertificateDoesNotName() async throws {
            let transport = try site.transport(host: "127.0.0.1")
            let error = await caught(TransportError.self) { try await transport.send(HTTPRequest("GET", "/echo")) }
            guard case .serverUntrusted(.name, _)? = error else { return #expect(Bool(false), "\(error as Any)") }
        }

        @Test(arguments: [String?.none, "mallory", "past"])
        func aClientThatIsNotTrusted(_ user: String?) async throws {
            let transport = try site.transport(as: user)
            let error = await caught(TransportError.self) { try await transport.send(HTTPRequest("GET", "/echo")) }
            guard case .identityRefused(let text)? = error else { return #expect(Bool(false), "\(error as Any)") }
            let details = try user.map { try #require(CertificateDetails(site.pki.der($0))) }
            let trouble = Trouble(try #require(error), TroubleContext(certificate: details))
            #expect(trouble?.kind == (user == "past" ? .certificateExpired : .certificateRefused), "\(text)")
        }

        @Test func aKeyThatDoesNotFit() async throws {
            let identity = CurlIdentity(certificate: try site.pki.pem("alice"), key: try site.pki.key(of: "mallory"))
            let transport = CurlTransport(
                address: try site.server.address("good"), authorities: try site.pki.pem("ca"), identity: identity)
            let error = await caught(TransportError.self) { try await transport.send(HTTPRequest("GET", "/echo")) }
            guard case .identityRefused? = error else { return #expect(Bool(false), "\(error as Any)") }
        }

        @Test(arguments: ["https://localhost:1", "https://no-such-host.invalid"]) func aHostThatIsDown(
            _ address: String
        ) async throws {
            let transport = CurlTransport(
                address: try #require(URL(string: address)), authorities: try site.pki.pem("ca"), identity: nil)
            let error = await caught(TransportError.self) { try await transport.send(HTTPRequest("GET", "/echo")) }
            guard case .unreachable? = error else { return #expect(Bool(false), "\(error as Any)") }
        }

        // MARK: A pinned authority

        @Test func anAuthorityByItsFingerprint() async throws {
            let transport = CurlTransport(
                address: try site.server.address("open"), fingerprint: try site.pki.der("ca").sha256)
            let echo = try await TransportChecks(transport: transport).echo(
                HTTPRequest("POST", "/echo", body: Data("code".utf8)))
            #expect(echo.body == "code" && echo.subject.isEmpty)
        }

        @Test(arguments: ["open-alone", "open-foreign"]) func aServerThatDoesNotShowIt(_ name: String) async throws {
            let transport = CurlTransport(
                address: try site.server.address(name), fingerprint: try site.pki.der("ca").sha256)
            let error = await caught(TransportError.self) { try await transport.send(HTTPRequest("POST", "/echo")) }
            guard case .serverUntrusted(.authority, _)? = error else { return #expect(Bool(false), "\(error as Any)") }
        }

        @Test func aShownAuthorityMustHaveSigned() async throws {
            // Shows the right authority behind a certificate that another one signed.
            let folder = try Scratch()
            let chain = try site.pki.pem("open-foreign") + site.pki.pem("ca")
            try chain.write(to: folder.file("open.crt"))
            try site.pki.key(of: "open-foreign").write(to: folder.file("open.key"))
            let server = try TestServer(folder.url)
            let transport = CurlTransport(
                address: try server.address("open"), fingerprint: try site.pki.der("ca").sha256)
            let error = await caught(TransportError.self) { try await transport.send(HTTPRequest("POST", "/echo")) }
            guard case .serverUntrusted(.authority, _)? = error else { return #expect(Bool(false), "\(error as Any)") }
        }

        @Test func twoAuthoritiesDuringARotation() async throws {
            let both = try site.pki.pem("foreign") + site.pki.pem("ca")
            for name in ["good", "open-foreign"] {
                let transport = CurlTransport(
                    address: try site.server.address(name), authorities: both, identity: try site.pki.identity("alice"))
                #expect(try await transport.send(HTTPRequest("GET", "/echo")).0.status == 200)
            }
        }
    }

    /// The product's transport. On Linux it has no client certificate, so it speaks to a server without TLS.
    @Suite(.timeLimit(.minutes(5)), .serialized) struct URLSessionTransportTests {
        static let made = Result { try TestServer(URL(fileURLWithPath: "/"), plain: true) }

        func transport() throws -> URLSessionTransport {
            URLSessionTransport(address: try Self.made.get().address("plain", scheme: "http"))
        }

        @Test func requestsArrive() async throws { try await TransportChecks(transport: transport()).requestsArrive() }
        @Test func refusalsAndRedirectsAreAnswers() async throws {
            try await TransportChecks(transport: transport()).refusalsAndRedirectsAreAnswers()
        }
        @Test func aCutAnswerIsLost() async throws {
            try await TransportChecks(transport: transport()).aCutAnswerIsLost()
        }
        @Test func cancellationEndsARequest() async throws {
            try await TransportChecks(transport: transport()).cancellationEndsARequest()
        }
        @Test func invalidationEndsAll() async throws {
            try await TransportChecks(transport: transport()).invalidationEndsAll()
        }

        @Test func aHostThatIsDown() async throws {
            let transport = URLSessionTransport(address: try #require(URL(string: "http://localhost:1")))
            let error = await caught(TransportError.self) { try await transport.send(HTTPRequest("GET", "/echo")) }
            guard case .unreachable? = error else { return #expect(Bool(false), "\(error as Any)") }
            let nowhere = HTTPRequest("GET", "\u{0}")
            #expect(await caught(TransportError.self) { try await transport.send(nowhere) } != nil)
        }

        @Test func silenceIsLoss() async throws {
            let address = try Self.made.get().address("plain", scheme: "http")
            let transport = URLSessionTransport(address: address, silence: 1)
            let (_, stream) = try await transport.open(HTTPRequest("GET", "/silent", isStream: true, silence: 1))
            await #expect(throws: TransportError.silent(1)) { try await stream.collect(limit: 10) }
        }

        /// What the system's errors mean; macOS raises more of them than Linux.
        @Test(arguments: [
            (URLError.Code.timedOut, TransportError.silent(45)), (.cannotConnectToHost, .unreachable("")),
            (.cannotFindHost, .unreachable("")), (.notConnectedToInternet, .unreachable("")),
            (.networkConnectionLost, .lost("")), (.serverCertificateHasUnknownRoot, .serverUntrusted(.authority, "")),
            (.serverCertificateHasBadDate, .serverUntrusted(.expired, "")),
            (.serverCertificateNotYetValid, .serverUntrusted(.notYetValid, "")),
            (.serverCertificateUntrusted, .serverUntrusted(.authority, "")),
            (.clientCertificateRejected, .identityRefused("")), (.secureConnectionFailed, .identityRefused("")),
            (.clientCertificateRequired, .answerWithheld("")), (.badServerResponse, .lost("")),
        ]) func systemErrors(_ code: URLError.Code, _ expected: TransportError) {
            let answered = code == .timedOut
            let meaning =
                SessionDelegate.meaning(of: URLError(code), silence: 45, answered: answered) as? TransportError
            #expect(meaning.map(Self.kind) == Self.kind(expected))
        }

        static func kind(_ error: TransportError) -> String {
            let text = "\(error)"
            return error.reason.map { "untrusted \($0)" } ?? String(text.prefix { $0 != "(" })
        }

        @Test func aTimeOutBeforeTheAnswerIsAHostThatIsDown() {
            let error = SessionDelegate.meaning(of: URLError(.timedOut), silence: 45, answered: false)
            guard case TransportError.unreachable = error else { return #expect(Bool(false)) }
            #expect(SessionDelegate.meaning(of: URLError(.cancelled), silence: 45, answered: true) is CancellationError)
        }
    }

    extension TransportError {
        fileprivate var reason: Distrust? { if case .serverUntrusted(let reason, _) = self { reason } else { nil } }
    }
#endif
