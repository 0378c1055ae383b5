import Foundation
import Testing

@testable import MLJobKit

@Suite(.timeLimit(.minutes(5))) struct AgentTests {
    static let job = ScriptedTransport.Answer.json(Sample.jobJSON())

    /// A call, and the request that it must become.
    struct Call: Sendable, CustomTestStringConvertible {
        let name: String
        let method: String
        let target: String
        var headers: [String: String] = [:]
        var body: String?
        let answer: String
        let make: @Sendable (Agent) async throws -> Void
        var testDescription: String { name }
    }

    static let calls: [Call] = [
        Call(
            name: "submit", method: "POST", target: "/jobs",
            headers: ["Idempotency-Key": "k", "Content-Type": "application/json"],
            body: #"{"hyperparameters":{"a_b":"1"},"script_name":"s.py"}"#, answer: Sample.jobJSON()
        ) { _ = try await $0.submit(JobRequest(scriptName: "s.py", hyperparameters: ["a_b": "1"]), key: "k") },
        Call(
            name: "rerun", method: "POST", target: "/jobs/abc/rerun", headers: ["Idempotency-Key": "k"],
            body: #"{"limits":{"cpus":0.5},"max_attempts":2}"#, answer: Sample.jobJSON()
        ) { _ = try await $0.rerun("abc", RerunRequest(limits: Limits(cpus: 0.5), maxAttempts: 2), key: "k") },
        Call(name: "job", method: "GET", target: "/jobs/abc", answer: Sample.jobJSON()) { _ = try await $0.job("abc") },
        Call(
            name: "jobs", method: "GET", target: "/jobs?status=RUNNING&script=a%20b.py&owner=bob&cursor=7&limit=20",
            answer: #"{"jobs":[]}"#
        ) { _ = try await $0.jobs(JobQuery(status: .running, script: "a b.py", owner: "bob", limit: 20), cursor: "7") },
        Call(name: "cancel", method: "POST", target: "/jobs/abc/cancel", answer: Sample.jobJSON()) {
            _ = try await $0.cancel("abc")
        },
        Call(name: "pin", method: "PUT", target: "/jobs/abc/pin", answer: Sample.jobJSON()) {
            _ = try await $0.setPinned(true, "abc")
        },
        Call(name: "unpin", method: "DELETE", target: "/jobs/abc/pin", answer: Sample.jobJSON()) {
            _ = try await $0.setPinned(false, "abc")
        },
        Call(
            name: "metrics", method: "GET", target: "/jobs/abc/metrics",
            answer: #"{"job_id":"abc","complete":true,"series":[],"refused":0}"#
        ) { _ = try await $0.metrics("abc") },
        Call(
            name: "usage", method: "GET", target: "/jobs/abc/usage", answer: #"{"job_id":"abc","at":"\#(Sample.time)"}"#
        ) {
            _ = try await $0.usage("abc")
        },
        Call(
            name: "explanation", method: "GET", target: "/jobs/abc/explanation",
            answer: #"{"job_id":"abc","status":"FAILED","summary":"It ended.","advice":[],"evidence":[]}"#
        ) { _ = try await $0.explanation("abc") },
        Call(
            name: "artifacts", method: "GET", target: "/jobs/abc/artifacts",
            answer: #"{"job_id":"abc","complete":true,"artifacts":[],"skipped":[]}"#
        ) { _ = try await $0.artifacts("abc") },
        Call(
            name: "scripts", method: "GET", target: "/scripts?ref=feature%2Fx", answer: #"{"commit":"c","scripts":[]}"#
        ) { _ = try await $0.scripts(ref: "feature/x") },
        Call(
            name: "host", method: "GET", target: "/host",
            answer: """
                {"versions":{"agent":"1"},"capacity":{"jobs":1,"cpus":1,"memory_bytes":1},
                 "in_use":{"jobs":0,"cpus":0,"memory_bytes":0},"waiting":0,"running":0,"users":[]}
                """
        ) { _ = try await $0.host() },
        Call(name: "hosts", method: "GET", target: "/hosts", answer: #"{"hosts":[]}"#) { _ = try await $0.hosts() },
        Call(name: "secrets", method: "GET", target: "/secrets", answer: #"{"secrets":[]}"#) {
            _ = try await $0.secrets()
        },
        Call(
            name: "set a secret", method: "PUT", target: "/secrets/snowflake",
            headers: ["Content-Type": "application/octet-stream"], body: "value",
            answer: """
                {"name":"snowflake","created_at":"\(Sample.time)","updated_at":"\(Sample.time)","age_seconds":0,
                 "rotated":true,"earlier_value_in":[]}
                """
        ) { _ = try await $0.setSecret("snowflake", to: Data("value".utf8)) },
        Call(
            name: "remove a secret", method: "DELETE", target: "/secrets/snowflake",
            answer: """
                {"name":"snowflake","created_at":"\(Sample.time)","updated_at":"\(Sample.time)","age_seconds":0}
                """
        ) { _ = try await $0.removeSecret("snowflake") },
        Call(
            name: "renew", method: "POST", target: "/certificate", body: #"{"csr":"c"}"#,
            answer: #"{"certificate":"","ca_certificates":"","serial":"1","expires_at":"\#(Sample.time)"}"#
        ) { _ = try await $0.renewCertificate(CertificateRequest(csr: "c")) },
        Call(
            name: "enrol", method: "POST", target: "/enrolment", headers: ["Authorization": "Bearer one-time"],
            body: #"{"csr":"c"}"#,
            answer: #"{"certificate":"","ca_certificates":"","serial":"1","expires_at":"\#(Sample.time)"}"#
        ) { _ = try await $0.enrol(CertificateRequest(csr: "c"), code: "one-time") },
    ]

    @Test(arguments: calls) func becomesItsRequest(_ call: Call) async throws {
        let transport = ScriptedTransport(.json(call.answer))
        try await call.make(Agent(transport))
        let request = try #require(transport.requests.first)
        #expect(request.method == call.method && request.target == call.target)
        // A change that needs no more than its path sends an empty object: no form could.
        let body = call.body ?? (call.method == "GET" ? nil : "{}")
        let mediaType = body == nil ? nil : call.headers["Content-Type"] ?? "application/json"
        #expect(request.body.map { String(decoding: $0, as: UTF8.self) } == body)
        #expect(request.headers["Content-Type"] == mediaType)
        #expect(request.headers["Accept"] == "application/json" && !request.isStream)
        for (name, value) in call.headers { #expect(request.headers[name] == value) }
    }

    @Test func aRefusalIsAProblem() async throws {
        let transport = ScriptedTransport(
            .problem(
                422, "invalid-request", "Not valid.", hint: "Look.", fields: ["name": "is long"],
                headers: ["Retry-After": "3"]))
        let problem = await caught(Problem.self) { try await Agent(transport).job("a") }
        #expect(problem?.code == "invalid-request" && problem?.hint == "Look." && problem?.retryAfter == 3)
        #expect(problem?.errors == [FieldProblem(field: "name", message: "is long")])
    }

    @Test func aRefusalWithoutADocumentSaysItsStatus() async throws {
        let transport = ScriptedTransport(.json("<html>", status: 404))
        let problem = await caught(Problem.self) { try await Agent(transport).job("a") }
        #expect(problem?.status == 404 && problem?.code == "no-problem-document")
    }

    @Test(arguments: ["", "[]", "{}", #"{"job_id":1}"#, "\u{0}", #"{"job_id":null}"#])
    func anAnswerThatIsNotUnderstoodIsNotRepeated(_ body: String) async throws {
        let transport = ScriptedTransport(.json(body))
        await #expect(throws: NotUnderstood.self) { try await Agent(transport).job("a") }
        #expect(transport.requests.count == 1)
    }

    @Test func aLostSubmissionIsRepeatedUnderTheSameKey() async throws {
        let transport = ScriptedTransport { _, count in
            if count < 3 { throw TransportError.lost("cut") }
            return Self.job
        }
        _ = try await Agent(transport).submit(JobRequest(scriptName: "s.py"), key: "one")
        #expect(transport.requests.map { $0.headers["Idempotency-Key"] } == ["one", "one", "one", "one"])
        #expect(Set(transport.requests.map(\.body)).count == 1)
    }

    @Test func anAnswerThatBreaksOffIsAskedForAgain() async throws {
        let half = ScriptedTransport.Answer(body: [Data("{".utf8)], end: .failure(.lost("cut")))
        let transport = ScriptedTransport(half, Self.job)
        _ = try await Agent(transport).job("a")
        #expect(transport.requests.count == 2)
    }

    @Test func repetitionsEnd() async throws {
        let transport = ScriptedTransport { _, _ in throw TransportError.lost("cut") }
        await #expect(throws: TransportError.lost("cut")) { try await Agent(transport).job("a") }
        #expect(transport.requests.count == 5)
    }

    @Test(arguments: [
        TransportError.unreachable("down"), .serverUntrusted(.authority, ""), .identityRefused(""), .answerWithheld(""),
    ]) func whatCannotPassIsNotRepeated(_ error: TransportError) async throws {
        let transport = ScriptedTransport { _, _ in throw error }
        await #expect(throws: error) { try await Agent(transport).job("a") }
        #expect(transport.requests.count == 1)
    }

    @Test func aRenewalIsNotRepeated() async throws {
        let transport = ScriptedTransport { _, _ in throw TransportError.lost("cut") }
        let agent = Agent(transport)
        await #expect(throws: TransportError.self) { try await agent.renewCertificate(CertificateRequest(csr: "")) }
        await #expect(throws: TransportError.self) { try await agent.enrol(CertificateRequest(csr: ""), code: "") }
        #expect(transport.requests.count == 2)
    }

    @Test func retryAfterIsHeeded() async throws {
        let transport = ScriptedTransport(
            .problem(429, "too-many-requests", headers: ["Retry-After": "0.2"]), Self.job)
        let began = ContinuousClock.now
        _ = try await Agent(transport).job("a")
        #expect(ContinuousClock.now - began >= .milliseconds(200) && transport.requests.count == 2)
    }

    @Test func aLongRetryAfterIsTheUsersToWaitFor() async throws {
        let transport = ScriptedTransport(.problem(503, "busy", headers: ["Retry-After": "3600"]))
        let problem = await caught(Problem.self) { try await Agent(transport).job("a") }
        #expect(problem?.retryAfter == 3600 && transport.requests.count == 1)
    }

    @Test func theHostsClockIsCompared() async throws {
        let transport = ScriptedTransport(
            .json(Sample.jobJSON(), headers: ["date": "Thu, 01 Jan 2026 00:00:00 GMT"]))
        let agent = Agent(transport)
        #expect(agent.clockSkew == nil)
        _ = try await agent.job("a")
        let skew = try #require(agent.clockSkew)
        let expected = Date(timeIntervalSince1970: 1_767_225_600).timeIntervalSinceNow
        #expect(abs(skew - expected) < 5)
        #expect(HTTPDate.parse("Sun, 06 Nov 1994 08:49:37 GMT") == Date(timeIntervalSince1970: 784_111_777))
        #expect(HTTPDate.parse("yesterday") == nil)
    }

    @Test func anotherTransportTakesOver() async throws {
        let old = ScriptedTransport(Self.job)
        let new = ScriptedTransport(Self.job)
        let agent = Agent(old)
        agent.replaceTransport(new)
        _ = try await agent.job("a")
        #expect(old.isInvalidated && old.requests.isEmpty && new.requests.count == 1)
    }

    @Test func pathsAndQueriesAreEncoded() {
        #expect(URLPart.path(["plots", "ä b;c?.png"]) == "plots/%C3%A4%20b%3Bc%3F.png")
        #expect(URLPart.query(["a": nil, "b": nil]) == "")
    }

    @Test func headersHaveNoCase() {
        let response = HTTPResponse(status: 200, headers: ["ETag": "x", "Retry-After": "soon"])
        #expect(response["etag"] == "x" && response.retryAfter == nil)
    }
}
