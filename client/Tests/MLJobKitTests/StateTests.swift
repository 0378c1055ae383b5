import Foundation
import Testing

@testable import MLJobKit

@MainActor @Suite(.timeLimit(.minutes(5))) struct JobListTests {
    func list(_ transport: ScriptedTransport) -> JobList { JobList(agent: Agent(transport), backoff: .quick) }

    func job(_ id: String, _ status: String = "RUNNING", _ changes: [String: Any] = [:]) -> String {
        Sample.event("job", Sample.jobJSON(id, status, changes))
    }

    nonisolated static let reset = Sample.event("reset", #"{"why":"new"}"#)
    nonisolated static let current = Sample.event("current", #"{"jobs":1}"#, id: "7-e")

    @Test func aSnapshotAndThenChanges() async throws {
        let transport = ScriptedTransport(
            .open(Self.reset, job("a"), job("b", "PENDING"), Self.current, job("a", "COMPLETED", ["revision": 2])))
        let list = list(transport)
        let run = Task { await list.run() }
        try await shown { list.jobs["a"]?.status == .completed }
        #expect(list.connection == .connected && list.jobs.count == 2)
        transport.push(Sample.event("queue", #"{"job_id":"b","position":3,"waits_for":"memory"}"#))
        transport.push(Sample.event("progress", #"{"job_id":"b","done":1,"total":4,"time":"\#(Sample.time)"}"#))
        try await shown { list.progress["b"]?.fraction == 0.25 }
        #expect(list.jobs["b"]?.queue?.position == 3)
        transport.push(Sample.event("removed", #"{"job_id":"a"}"#, id: "8-e") + job("b", "FAILED", ["revision": 5]))
        try await shown { list.jobs["b"]?.status == .failed }
        #expect(list.jobs["a"] == nil && list.progress.isEmpty)
        run.cancel()
        await run.value
        #expect(list.connection == .idle && transport.openCount == 0)
    }

    @Test func theOldListStaysUntilTheNewOneIsWhole() async throws {
        let transport = ScriptedTransport(
            .cut(Self.reset, job("a"), job("old", "COMPLETED"), Self.current),
            .cut(Self.reset, job("b")), .open(Self.reset, job("b"), Self.current))
        let list = list(transport)
        let run = Task { await list.run() }
        try await shown { list.jobs["b"] != nil }
        #expect(Set(list.jobs.keys) == ["b", "old"], "a job that ended is not forgotten by a snapshot of the newest")
        #expect(transport.requests.map { $0.headers["Last-Event-ID"] } == [nil, "7-e", "7-e"])
        run.cancel()
    }

    @Test func aLossIsShownWithItsNextTry() async throws {
        let transport = ScriptedTransport { _, count in
            if count == 0 { throw TransportError.unreachable("down") }
            return .open(Self.reset, Self.current)
        }
        let agent = Agent(transport)
        let list = JobList(agent: agent, backoff: Backoff(first: 3600, most: 3600))
        let run = Task { await list.run() }
        try await shown { list.connection.trouble != nil }
        guard case .offline(let trouble, let retryAt) = list.connection else { return #expect(Bool(false)) }
        #expect(trouble.kind == .unreachable && trouble.mayPass && retryAt > Date(timeIntervalSinceNow: 1800))
        agent.streams.wake()
        try await shown { list.connection.isConnected }
        run.cancel()
    }

    @Test func aRefusalIsShown() async {
        let list = list(ScriptedTransport(.problem(403, "certificate-refused", "It was revoked.")))
        await list.run()
        #expect(list.connection.trouble?.kind == .certificateRefused)
        if case .refused = list.connection {} else { #expect(Bool(false)) }
    }

    @Test func aRunThatWasReplacedSaysNothing() async throws {
        let list = list(ScriptedTransport(.open(Self.reset, Self.current)))
        let first = Task { await list.run() }
        try await shown { list.connection.isConnected }
        first.cancel()
        let second = Task { await list.run() }
        await first.value
        try await shown { list.connection.isConnected }
        second.cancel()
        await second.value
        #expect(list.connection == .idle)
    }

    @Test func aMalformedEventIsShown() async {
        let list = list(ScriptedTransport(.open(Self.reset, Sample.event("job", "{"))))
        await list.run()
        #expect(list.connection.trouble?.kind == .agentNewer)
    }

    @Test func tenThousandJobs() async throws {
        let (running, ended) = (job("NAME"), job("NAME", "COMPLETED"))
        let events = (0..<10_000).map { ($0 % 100 == 0 ? running : ended).replacing("NAME", with: "job\($0)") }
        let list = list(ScriptedTransport(.open(Self.reset, events.joined(), Self.current)))
        let run = Task { await list.run() }
        try await shown { list.jobs.count == 10_000 }
        list.search = "train alice"
        #expect(list.visible.count == 10_000 && list.count(.running) == 100)
        list.filter = .running
        #expect(list.visible.count == 100 && list.running.count == 100)
        run.cancel()
    }

    @Test func filtersSearchAndOrder() {
        let list = list(ScriptedTransport(.open()))
        list.insert(Sample.job("a", "RUNNING", ["created_at": "2026-01-02T00:00:00.000Z", "name": "Größer"]))
        list.insert(Sample.job("b", "PENDING", ["pinned": true, "labels": ["team": "churn"]]))
        list.insert(Sample.job("c", "COMPLETED", ["hyperparameters": ["depth": "9"]]))
        #expect(list.visible.map(\.id) == ["a", "b", "c"])
        list.sortOrder = [KeyPathComparator(\.sortableStatus)]
        #expect(list.visible.map(\.id) == ["b", "a", "c"])
        for (filter, ids) in [
            (JobFilter.all, ["a", "b", "c"]), (.running, ["a"]), (.waiting, ["b"]), (.finished, ["c"]),
            (.pinned, ["b"]),
        ] {
            list.filter = filter
            #expect(
                Set(list.visible.map(\.id)) == Set(ids) && list.count(filter) == ids.count
                    && filter.id == filter.rawValue)
        }
        list.filter = .all
        list.sortOrder = [KeyPathComparator(\.createdAt, order: .reverse)]
        for (search, ids) in [("grosser", ["a"]), ("team=churn", ["b"]), ("depth=9 train", ["c"]), ("nothing", [])] {
            list.search = search
            #expect(list.visible.map(\.id) == ids, "\(search)")
        }
    }

    /// Whatever the order, a list that is kept right by its changes is the one that would be made anew.
    @Test func changesKeepTheOrder() {
        let orders: [[KeyPathComparator<Job>]] = [
            [KeyPathComparator(\.createdAt, order: .reverse)], [KeyPathComparator(\.sortableStart)],
            [KeyPathComparator(\.sortableEnd, order: .reverse)],
            [KeyPathComparator(\.title), KeyPathComparator(\.priority)],
            [KeyPathComparator(\.scriptName, order: .reverse)],
            [KeyPathComparator(\.owner), KeyPathComparator(\.sortableStatus)],
            [KeyPathComparator(\.revision)],
        ]
        let list = list(ScriptedTransport(.open()))
        var random = SystemRandomNumberGenerator()
        for order in orders {
            list.sortOrder = order
            for revision in 1...60 {
                _ = list.visible
                let changes: [String: Any] = [
                    "revision": revision * 1000 + Int.random(in: 0..<3, using: &random),
                    "priority": Int.random(in: 0..<3, using: &random),
                    "name": "Run \(Int.random(in: 10..<30, using: &random))",
                    "owner": ["a", "b", "c"].randomElement() ?? "",
                    "created_at": "2026-01-0\(Int.random(in: 1...9, using: &random))T00:00:00.000Z",
                ]
                let status = JobStatus.known.randomElement(using: &random)?.rawValue ?? ""
                list.insert(Sample.job("job\(Int.random(in: 0..<15, using: &random))", status, changes))
            }
            let expected = list.jobs.values.sorted(using: order + [KeyPathComparator(\.id)])
            #expect(list.visible.map(\.id) == expected.map(\.id), "\(order)")
            list.sortOrder = []
            for id in list.jobs.keys { list.apply(.removed(id)) }
            #expect(list.visible.isEmpty)
        }
    }

    @Test func anOlderAnswerDoesNotReplaceANewerOne() {
        let list = list(ScriptedTransport(.open()))
        list.insert(Sample.job("a", "COMPLETED", ["revision": 5]))
        list.insert(Sample.job("a", "RUNNING", ["revision": 4]))
        #expect(list.jobs["a"]?.status == .completed)
    }

    @Test func olderJobsComePageByPage() async throws {
        let transport = ScriptedTransport(
            .json(#"{"jobs":[\#(Sample.jobJSON("x", "COMPLETED"))],"next_cursor":"9"}"#),
            .json(#"{"jobs":[\#(Sample.jobJSON("y", "COMPLETED"))]}"#))
        let list = list(transport)
        try await list.loadOlder()
        #expect(list.hasOlder && list.jobs.count == 1)
        try await list.loadOlder()
        #expect(!list.hasOlder && list.jobs.count == 2 && !list.isLoadingOlder)
        try await list.loadOlder()
        #expect(transport.requests.map(\.target) == ["/jobs?limit=200", "/jobs?cursor=9&limit=200"])
    }

    @Test func aSmallCurveIsThinned() async {
        let points = (0..<400).map { #"{"step":\#($0),"value":\#($0),"time":"\#(Sample.time)"}"# }.joined(
            separator: ",")
        let series = #"[{"name":"loss","count":400,"every":1,"points":[\#(points)]}]"#
        let list = list(ScriptedTransport(.json(#"{"job_id":"a","complete":false,"series":\#(series),"refused":0}"#)))
        await list.loadSparkline(of: "a")
        #expect(
            list.sparklines["a"]?.count == 40 && list.sparklines["a"]?.last == 399 && list.sparklines["a"]?.first == 0)
        #expect(Sparkline.thin([1, 2]) == [1, 2])
    }

    @Test func jobsHaveTimesAndTitles() {
        let job = Sample.job("abcdefghijkl", "RUNNING", ["started_at": "2026-01-01T00:00:10.000Z"])
        #expect(job.duration(at: Date(timeIntervalSince1970: 1_767_225_640)) == 30)
        #expect(job.title == "train.py" && job.shortID == "abcdefgh" && job.sortableEnd == .distantFuture)
        #expect(Sample.job("a").duration() == nil && Sample.job("a").sortableStart == .distantFuture)
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct MetricsModelTests {
    func metric(_ step: Int, _ value: Double, _ name: String = "loss") -> JobMetric {
        JobMetric(jobID: "a", name: name, step: step, value: value, time: Date(timeIntervalSince1970: Double(step)))
    }

    @Test func growsAndIsThinned() {
        let model = MetricsModel()
        #expect(model.isEmpty)
        for step in 0..<2000 { model.add(metric(step, Double(step))) }
        let series = model.series[0]
        #expect(series.count == 2000 && series.points.count <= MetricsModel.most && series.every >= 4)
        #expect(series.points.first?.step == 0 && series.points.last?.step == 1999)
        #expect(zip(series.points, series.points.dropFirst()).allSatisfy { $0.step < $1.step })
    }

    @Test func thePointThatIsKnownIsNotAddedTwice() {
        let model = MetricsModel()
        model.add(metric(1, 0.5))
        model.add(metric(1, 0.5))
        model.add(metric(1, 0.5, "auc"))
        #expect(model.series.map(\.points.count) == [1, 1] && model.series.map(\.name) == ["loss", "auc"])
    }

    @Test func anAnswerReplacesWhatTheStreamTold() {
        let model = MetricsModel()
        model.add(metric(1, 0.5))
        model.add(JobProgress(jobID: "a", done: 1, total: 2, time: Date()))
        model.replace(
            JobMetrics(
                jobID: "a", complete: true, progress: nil, series: [MetricSeries(name: "x")], refused: 3,
                ignored: IgnoredMarks(count: 2, line: 7, reason: "value: must be a number")))
        #expect(model.series.map(\.name) == ["x"] && model.isComplete && model.refused == 3)
        #expect(
            model.ignored?.text == "2 marks were not understood. The first is in line 7: value: must be a number")
        #expect(model.progress?.fraction == 0.5, "progress that was told stays")
        #expect(
            Progress(done: 5, total: 0, time: Date()).fraction == 0
                && Progress(done: 5, total: 2, time: Date()).fraction == 1)
    }

    @Test func thePointUnderThePointer() {
        let model = MetricsModel()
        for step in [0, 10, 20] { model.add(metric(step, Double(step))) }
        #expect(model.point(of: "loss", nearest: 13)?.step == 10 && model.point(of: "none", nearest: 0) == nil)
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct JobDetailTests {
    nonisolated static let metrics =
        #"{"job_id":"a","complete":true,"series":[{"name":"auc","count":0,"every":1,"points":[]}],"refused":0}"#
    nonisolated static let artifacts =
        #"{"job_id":"a","complete":true,"artifacts":[{"path":"m/x.json","size":2,"sha256":"\#(Data("{}".utf8).sha256)","media_type":"application/json"}],"skipped":[]}"#

    /// Answers by path; `events` for the job's stream.
    static func transport(_ events: ScriptedTransport.Answer..., usage: [String] = []) -> ScriptedTransport {
        let counts = Counter()
        return ScriptedTransport { request, _ in
            switch request.target {
            case "/jobs/a/events": return events[min(counts.next("events"), events.count - 1)]
            case "/jobs/a/metrics": return .json(metrics)
            case "/jobs/a/artifacts": return .json(artifacts)
            case "/jobs/a/usage": return .json(usage[min(counts.next("usage"), usage.count - 1)])
            case "/jobs/a/artifacts/m/x.json": return .init(body: [Data("{}".utf8)])
            default:
                return .json(Sample.jobJSON("a", "RUNNING", ["revision": 9, "cancel_requested": true]), status: 202)
            }
        }
    }

    final class Counter: @unchecked Sendable {
        private let lock = NSLock()
        private var counts: [String: Int] = [:]
        func next(_ name: String) -> Int {
            lock.withLock {
                defer { counts[name, default: 0] += 1 }
                return counts[name, default: 0]
            }
        }
    }

    func detail(_ transport: ScriptedTransport) -> JobDetail {
        JobDetail("a", agent: Agent(transport), backoff: .quick)
    }

    static func job(_ status: String, _ revision: Int) -> String {
        Sample.event("job", Sample.jobJSON("a", status, ["revision": revision]))
    }

    @Test func followsToTheEnd() async {
        let detail = detail(
            Self.transport(
                .cut(Self.job("RUNNING", 2)),
                .whole(
                    Self.job("RUNNING", 2), Sample.event("queue", #"{"job_id":"a","position":1,"waits_for":"cpu"}"#),
                    Sample.event("progress", #"{"job_id":"a","done":1,"total":2,"time":"\#(Sample.time)"}"#),
                    Sample.event(
                        "metric", #"{"job_id":"a","name":"loss","step":0,"value":1,"time":"\#(Sample.time)"}"#),
                    Sample.event("end", Sample.jobJSON("a", "COMPLETED", ["revision": 3])))))
        var states: [JobStatus] = []
        detail.onJob = { states.append($0.status) }
        await detail.run()
        #expect(detail.job?.status == .completed && detail.connection == .connected)
        #expect(detail.metrics.series.map(\.name) == ["auc"] && detail.metrics.isComplete)
        #expect(detail.manifest?.artifacts.map(\.path) == ["m/x.json"] && detail.manifestTrouble == nil)
        #expect(states == [.running, .running, .completed] && detail.metrics.progress?.fraction == 0.5)
    }

    @Test func aRemovedJobIsSaid() async {
        let detail = detail(Self.transport(.open(Sample.event("removed", #"{"job_id":"a"}"#))))
        await detail.run()
        #expect(detail.connection.trouble?.kind == .notFound)
    }

    @Test func artifactsThatAreGoneAreSaid() async {
        let detail = detail(ScriptedTransport(.problem(410, "removed-by-retention", "Removed on Monday.")))
        await detail.loadArtifacts()
        #expect(detail.manifestTrouble?.kind == .gone && detail.manifestTrouble?.title == "Removed on Monday.")
    }

    @Test func actionsAnswerWithTheJob() async {
        let transport = Self.transport(.open())
        let detail = detail(transport)
        await detail.cancel()
        #expect(detail.job?.cancelRequested == true && !detail.isActing && detail.actionTrouble == nil)
        await detail.setPinned(true)
        #expect(transport.requests.map { "\($0.method) \($0.target)" } == ["POST /jobs/a/cancel", "PUT /jobs/a/pin"])
    }

    @Test func aRefusedActionIsSaid() async {
        let detail = detail(ScriptedTransport(.problem(409, "too-many-pinned", "You have pinned 20.")))
        await detail.setPinned(true)
        #expect(detail.actionTrouble?.kind == .tooMany && detail.actionTrouble?.title == "You have pinned 20.")
    }

    @Test func usageIsWatched() async throws {
        func usage(_ second: Int, _ cpu: Double) -> String {
            #"{"job_id":"a","at":"2026-01-01T00:00:0\#(second).000Z","cpu_seconds":\#(cpu),"memory_bytes":7}"#
        }
        let detail = detail(Self.transport(.open(), usage: [usage(1, 10), usage(3, 13)]))
        let watch = Task { await detail.watchUsage(every: 0.01) }
        try await shown { detail.cpusUsed == 1.5 }
        #expect(detail.usage?.memoryBytes == 7)
        watch.cancel()
        await watch.value
        #expect(detail.cpusUsed == nil)
    }

    @Test func anArtifactIsDownloaded() async throws {
        let scratch = try Scratch()
        let detail = detail(Self.transport(.open()))
        await detail.loadArtifacts()
        let artifact = try #require(detail.manifest?.artifacts.first)
        let file = try await detail.download(artifact, into: scratch.url)
        #expect(try Data(contentsOf: file) == Data("{}".utf8) && file.path.hasSuffix("/m/x.json"))
        let wrong = Artifact(path: "m/x.json", size: 2, sha256: "00")
        #expect(
            await caught(Trouble.self) { try await detail.download(wrong, into: scratch.file("other")) }?.kind
                == .damagedDownload)
        let trouble = await caught(Trouble.self) { try await detail.download(wrong, into: scratch.url) }
        #expect(trouble?.kind == .cannotWrite)
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct OutboxTests {
    let scratch: Scratch
    init() throws { scratch = try Scratch() }

    func outbox(_ transport: ScriptedTransport) -> Outbox {
        Outbox(agent: Agent(transport), file: scratch.file("a/outbox.json"))
    }

    nonisolated static let request = Outbox.Entry.Body.submit(
        JobRequest(scriptName: "s.py", hyperparameters: ["a": "1"], name: "A"))

    @Test func anAcceptedSubmissionLeavesNothing() async throws {
        let outbox = outbox(ScriptedTransport(.json(Sample.jobJSON("a", "PENDING"), status: 202)))
        var accepted: [String] = []
        outbox.onAccepted = { entry, job in accepted.append("\(entry.title) \(job.id)") }
        #expect(try await outbox.send(Self.request)?.id == "a")
        #expect(
            outbox.entries.isEmpty && accepted == ["A a"] && self.outbox(ScriptedTransport(.open())).entries.isEmpty)
    }

    @Test func withoutAConnectionItWaitsAlsoThroughARestart() async throws {
        let down = ScriptedTransport { _, _ in throw TransportError.unreachable("down") }
        let first = outbox(down)
        #expect(try await first.send(Self.request) == nil)
        #expect(first.entries.first?.trouble?.kind == .unreachable && first.entries.first?.isSending == false)
        let key = try #require(down.requests.first?.headers["Idempotency-Key"])
        let up = ScriptedTransport(.json(Sample.jobJSON(), status: 202))
        let second = outbox(up)
        #expect(second.entries.map(\.id) == [key] && second.entries.map(\.title) == ["A"])
        await second.flush()
        #expect(second.entries.isEmpty && up.requests.first?.headers["Idempotency-Key"] == key)
    }

    @Test func aRefusalIsRaisedAndNotKept() async throws {
        let outbox = outbox(ScriptedTransport(.problem(422, "invalid-request", fields: ["name": "is long"])))
        let trouble = await caught(Trouble.self) { try await outbox.send(Self.request) }
        #expect(trouble?.kind == .invalid && trouble?.fields.map(\.field) == ["name"] && outbox.entries.isEmpty)
    }

    @Test func aRefusalNobodyWaitsForIsKeptWithItsReason() async throws {
        let transport = ScriptedTransport { _, count in
            if count == 0 { throw TransportError.unreachable("down") }
            return .problem(422, "ref-not-found", "No such ref.")
        }
        let outbox = outbox(transport)
        _ = try await outbox.send(.rerun("abcdefghijkl", RerunRequest()))
        await outbox.flush()
        #expect(
            outbox.entries.first?.trouble?.title == "No such ref." && outbox.entries.first?.title == "rerun of abcdefgh"
        )
        await outbox.flush()
        #expect(transport.requests.count == 2, "it is not sent again by itself")
        await outbox.retry(outbox.entries[0].id)
        #expect(transport.requests.count == 3)
        outbox.discard(outbox.entries[0].id)
        #expect(outbox.entries.isEmpty && self.outbox(transport).entries.isEmpty)
    }

    @Test func anOldSubmissionIsNotSentByItself() async throws {
        let old = Outbox.Entry(Self.request, createdAt: Date(timeIntervalSinceNow: -86_400))
        try FileManager.default.createDirectory(at: scratch.file("a"), withIntermediateDirectories: true)
        try JSONEncoder().encode([old]).write(to: scratch.file("a/outbox.json"))
        let transport = ScriptedTransport(.json(Sample.jobJSON()))
        let outbox = outbox(transport)
        await outbox.flush()
        #expect(transport.requests.isEmpty && outbox.entries.first?.trouble != nil)
    }

    @Test func whatCannotBeKeptIsNotSent() async throws {
        try Data().write(to: scratch.file("a"))
        let transport = ScriptedTransport(.json(Sample.jobJSON()))
        let outbox = outbox(transport)
        #expect(await caught(Trouble.self) { try await outbox.send(Self.request) }?.kind == .cannotWrite)
        #expect(transport.requests.isEmpty && outbox.entries.isEmpty)
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct EndNoticesTests {
    @Test func eachEndIsToldOnce() throws {
        let scratch = try Scratch()
        let file = scratch.file("x/notices.json")
        var notices = EndNotices(user: "alice", file: file)
        #expect(!notices.isNews(Sample.job("old", "COMPLETED")), "it had ended when it was first seen")
        #expect(!notices.isNews(Sample.job("a", "RUNNING")) && !notices.isNews(Sample.job("a", "RUNNING")))
        notices = EndNotices(user: "alice", file: file)  // the app was closed meanwhile
        #expect(notices.isNews(Sample.job("a", "FAILED")))
        #expect(!notices.isNews(Sample.job("a", "FAILED")))
        #expect(!EndNotices(user: "alice", file: file).isNews(Sample.job("a", "FAILED")))
        _ = notices.isNews(Sample.job("b", "RUNNING", ["owner": "bob"]))
        #expect(!notices.isNews(Sample.job("b", "COMPLETED", ["owner": "bob"])), "it is another's")
        _ = notices.isNews(Sample.job("c", "RUNNING", ["sweep": "s"]))
        #expect(!notices.isNews(Sample.job("c", "COMPLETED", ["sweep": "s"])), "it is one of many")
    }

    @Test func outcomesAreWords() {
        let outcomes = [
            "exit-code", "signal", "oom-kill", "timeout", "start-failed", "interrupted", "artifact-quota",
            "storage-full", "artifact-missing", "stopped", "later",
        ]
        .map { Sample.job("a", "FAILED", ["reason": $0, "exit_status": 137]).outcome }
        #expect(outcomes.first == "Failed with exit status 137" && outcomes[1] == "Ended by signal 9")
        #expect(Set(outcomes).count == outcomes.count && outcomes.last == "Failed: later")
        #expect(
            Sample.job("a", "COMPLETED").outcome == "Completed" && Sample.job("a", "CANCELLED").outcome == "Cancelled")
        #expect(Sample.job("a", "CANCELLED", ["reason": "pruned"]).outcome == "Ended early by its sweep")
        #expect(Sample.job("a", "FAILED").outcome == "Failed" && Sample.job("a").outcome == nil)
    }
}
