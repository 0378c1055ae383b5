import Foundation
import Testing

@testable import MLJobKit

@Suite(.timeLimit(.minutes(5))) struct LogStreamTests {
    static let end = Sample.event("end", Sample.jobJSON("a", "COMPLETED"))

    /// The numbers of all lines, and how often the connection was lost.
    func read(_ agent: Agent, _ query: LogQuery = LogQuery()) async throws -> (numbers: [Int], losses: Int, last: Job?)
    {
        var (numbers, losses, last) = ([Int](), 0, Job?.none)
        for try await item in agent.log("a", query, backoff: .quick) {
            switch item {
            case .line(let line): numbers.append(line.number)
            case .interrupted: losses += 1
            case .end(let job): last = job
            default: break
            }
        }
        return (numbers, losses, last)
    }

    /// An agent with a log of `count` lines that cuts each connection after some bytes, anywhere in an event.
    static func cutting(_ count: Int, everyBytes sizes: [Int]) -> ScriptedTransport {
        ScriptedTransport { request, connection in
            let first = request.headers["Last-Event-ID"].flatMap { Int($0.dropFirst("token-".count)) } ?? 0
            let lines = (first + 1..<count + 1).map { Sample.line($0, "größer \($0)") }
            let whole = Data((Sample.event("state", Sample.jobJSON("a")) + lines.joined() + Self.end).utf8)
            guard connection < sizes.count else { return .init(body: [whole]) }
            return .init(body: [whole.prefix(sizes[connection])], end: .failure(.lost("cut")))
        }
    }

    @Test func everyLineComesOnceThroughTwentyCuts() async throws {
        var random = SystemRandomNumberGenerator()
        let sizes = (0..<20).map { _ in Int.random(in: 0...1200, using: &random) }
        let transport = Self.cutting(300, everyBytes: sizes)
        let (numbers, losses, last) = try await read(Agent(transport))
        #expect(numbers == Array(1...300), "\(sizes)")
        #expect(losses == 20 && last?.status == .completed && transport.requests.count == 21)
    }

    @Test func everyCutOfTwoLinesIsSurvived() async throws {
        let length =
            (Sample.event("state", Sample.jobJSON("a")) + Sample.line(1, "größer 1") + Sample.line(2, "größer 2")).utf8
            .count
        for size in stride(from: 0, through: length + 10, by: 7) {
            let (numbers, _, _) = try await read(Agent(Self.cutting(2, everyBytes: [size])))
            #expect(numbers == [1, 2], "cut at \(size)")
        }
    }

    @Test func aStreamThatStopsWithoutEndWasLost() async throws {
        let transport = ScriptedTransport(.whole(Sample.line(1)), .whole(Sample.line(2), Self.end))
        let (numbers, losses, _) = try await read(Agent(transport))
        #expect(numbers == [1, 2] && losses == 1)
        #expect(transport.requests.map { $0.headers["Last-Event-ID"] } == [nil, "token-1"])
        #expect(
            transport.requests.allSatisfy {
                $0.isStream && $0.silence == 45 && $0.headers["Accept"] == "text/event-stream"
            })
    }

    @Test func theQueryIsSent() async throws {
        let transport = ScriptedTransport(.whole(Self.end))
        _ = try await read(Agent(transport), LogQuery(tail: 5, since: "token-3", grep: "a+b"))
        #expect(transport.requests.first?.target == "/jobs/a/logs?tail=5&grep=a%2Bb")
        #expect(transport.requests.first?.headers["Last-Event-ID"] == "token-3")
    }

    @Test func allEventsAreTold() async throws {
        let transport = ScriptedTransport(
            .whole(
                Sample.event("state", Sample.jobJSON("a", "PENDING")),
                Sample.event("waiting", #"{"position":2,"waits_for":"memory"}"#), ": comment\n\n",
                Sample.event("gap", #"{"after":0,"count":3,"time":"\#(Sample.time)"}"#), Sample.event("later", "{}"),
                Sample.event("pause", Sample.jobJSON("a"))))
        var told: [String] = []
        for try await item in Agent(transport).log("a", backoff: .quick) {
            switch item {
            case .connected: told.append("connected")
            case .state(let job): told.append(job.status.rawValue)
            case .waiting(let place): told.append("\(place.position) \(place.waitsFor)")
            case .gap(let gap): told.append("gap \(gap.after) \(gap.count ?? -1)")
            case .end: told.append("end")
            case .line, .interrupted: told.append("?")
            }
        }
        #expect(told == ["connected", "PENDING", "2 memory", "gap 0 3", "end"])
    }

    @Test func anErrorThatMayPassIsTriedAgain() async throws {
        let error = #"{"type":"urn:ml-agent:problem:slow-reader","title":"","status":503,"detail":"Slow.","retry":1}"#
        let transport = ScriptedTransport(
            .whole(Sample.line(1), Sample.event("error", error)), .whole(Sample.line(2), Self.end))
        let (numbers, losses, _) = try await read(Agent(transport))
        #expect(numbers == [1, 2] && losses == 1)
    }

    @Test(arguments: [403, 404, 410]) func anErrorBelow500EndsTheStream(_ status: Int) async throws {
        let error = #"{"type":"urn:ml-agent:problem:x","title":"","status":\#(status),"detail":"No."}"#
        let transport = ScriptedTransport(.whole(Sample.line(1), Sample.event("error", error)))
        let problem = await caught(Problem.self) { try await self.read(Agent(transport)) }
        #expect(problem?.status == status && transport.requests.count == 1)
    }

    @Test func aRefusedConnectionEndsTheStream() async throws {
        let transport = ScriptedTransport(.problem(404, "job-not-found"))
        let problem = await caught(Problem.self) { try await self.read(Agent(transport)) }
        #expect(problem?.code == "job-not-found")
    }

    @Test func tooManyStreamsAreTriedAgain() async throws {
        let transport = ScriptedTransport(
            .problem(429, "too-many-streams", headers: ["Retry-After": "0.01"]), .whole(Self.end))
        #expect(try await read(Agent(transport)).losses == 1)
    }

    @Test func anUntrustedServerEndsTheStream() async throws {
        let transport = ScriptedTransport { _, _ in throw TransportError.serverUntrusted(.authority, "x") }
        await #expect(throws: TransportError.serverUntrusted(.authority, "x")) { try await self.read(Agent(transport)) }
    }

    @Test(arguments: ["nonsense", #"{"number":"one"}"#, "{}", "[1]"])
    func aMalformedLineEndsTheStreamAndIsNotSkipped(_ data: String) async throws {
        let transport = ScriptedTransport(.whole(Sample.line(1), Sample.event("line", data, id: "token-2"), Self.end))
        let error = await caught(NotUnderstood.self) { try await self.read(Agent(transport)) }
        #expect(error?.what == "a `line` event" && transport.requests.count == 1)
    }

    @Test func aRefusedOldCertificateIsNoEndOnceThereIsANewOne() async throws {
        let refusal =
            #"{"type":"urn:ml-agent:problem:certificate-refused","title":"","status":403,"detail":"Revoked."}"#
        let old = ScriptedTransport(.open(Sample.line(1)))
        let new = ScriptedTransport(.whole(Sample.line(2), Self.end))
        let agent = Agent(old)
        var stream = agent.log("a", backoff: .quick).makeAsyncIterator()
        for _ in 0..<2 { _ = try await stream.next() }  // connected, line 1
        old.push(Sample.event("error", refusal))
        agent.replaceTransport(new)
        var numbers: [Int] = []
        while let item = try await stream.next() { if case .line(let line) = item { numbers.append(line.number) } }
        #expect(numbers == [2])
    }

    @Test func leavingTheLoopEndsTheConnection() async throws {
        let transport = ScriptedTransport(.open(Sample.line(1)))
        let agent = Agent(transport)
        for try await item in agent.log("a", backoff: .quick) { if case .line = item { break } }
        #expect(transport.openCount == 0 && agent.streams.count == 0)
    }

    @Test func cancellationEndsTheStream() async throws {
        let transport = ScriptedTransport(.open(Sample.line(1)))
        let agent = Agent(transport)
        let reader = Task { try await self.read(agent) }
        try await eventually { agent.streams.count == 1 }
        reader.cancel()
        await #expect(throws: CancellationError.self) { try await reader.value }
        try await eventually { transport.openCount == 0 && agent.streams.count == 0 }
    }

    @Test func cancellationEndsAPause() async throws {
        let transport = ScriptedTransport { _, _ in throw TransportError.unreachable("down") }
        let agent = Agent(transport)
        let reader = Task {
            for try await _ in agent.log("a", backoff: Backoff(first: 3600, most: 3600)) {}
        }
        try await eventually { transport.requests.count == 1 }
        reader.cancel()
        await #expect(throws: CancellationError.self) { try await reader.value }
    }

    @Test func wakingUpConnectsAtOnce() async throws {
        let transport = ScriptedTransport { request, count in
            if count == 1 { throw TransportError.unreachable("no network yet") }
            return count == 0 ? .open(Sample.line(1)) : .whole(Sample.line(2), Self.end)
        }
        let agent = Agent(transport)
        let reader = Task {
            var numbers: [Int] = []
            for try await item in agent.log("a", backoff: Backoff(first: 3600, most: 3600)) {
                if case .line(let line) = item { numbers.append(line.number) }
            }
            return numbers
        }
        try await eventually { agent.streams.count == 1 && transport.requests.count == 1 }
        agent.streams.sleep()
        try await eventually { transport.openCount == 0 }
        try await Task.sleep(for: .milliseconds(50))
        #expect(transport.requests.count == 1, "nothing connects while the machine sleeps")
        agent.streams.wake()
        try await eventually { transport.requests.count == 2 }
        agent.streams.wake()  // the network is there
        #expect(try await reader.value == [1, 2])
    }

    @Test func aPauseThatIsOverAtOnceIsNoHang() async throws {
        let control = StreamControl()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<500 { group.addTask { try await control.pause(0, since: 0) } }
            for _ in 0..<50 { control.wake() }
            try await group.waitForAll()
        }
    }

    @Test func aWakeBetweenALossAndItsPauseIsNotLost() async throws {
        let transport = ScriptedTransport { _, count in
            if count == 0 { throw TransportError.unreachable("down") }
            return .whole(Self.end)
        }
        let agent = Agent(transport)
        var stream = agent.log("a", backoff: Backoff(first: 3600, most: 3600)).makeAsyncIterator()
        guard case .interrupted? = try await stream.next() else { return #expect(Bool(false)) }
        agent.streams.wake()
        guard case .connected? = try await stream.next() else { return #expect(Bool(false)) }
    }

    @Test func sixStreamsAtOnce() async throws {
        let transport = Self.cutting(50, everyBytes: [])
        let agent = Agent(transport)
        try await withThrowingTaskGroup(of: [Int].self) { group in
            for _ in 0..<6 { group.addTask { try await self.read(agent).numbers } }
            for try await numbers in group { #expect(numbers == Array(1...50)) }
        }
    }

    @Test func theDelayDoublesUpToItsMost() {
        var backoff = Backoff(first: 0.2, most: 10, jitter: 1...1)
        #expect((0..<8).map { _ in backoff.delay() } == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10])
        backoff.reset()
        #expect(backoff.delay(atLeast: 5) == 5)
        var jittered = Backoff()
        let delay = jittered.delay()
        #expect((0.15...0.25).contains(delay))
    }
}
