import Foundation
import Testing

@testable import MLJobKit

@MainActor @Suite(.timeLimit(.minutes(5))) struct SweepListTests {
    func list(_ transport: ScriptedTransport = ScriptedTransport(.open())) -> SweepList {
        SweepList(agent: Agent(transport))
    }

    @Test func theStreamOfJobsTellsSweeps() async throws {
        let transport = ScriptedTransport(
            .open(
                JobListTests.reset, Sample.event("sweep", Sample.sweepJSON("a")), JobListTests.current,
                Sample.event("sweep", Sample.sweepJSON("a", "PAUSED", ["revision": 2]))))
        let agent = Agent(transport)
        let (jobs, sweeps) = (JobList(agent: agent, backoff: .quick), SweepList(agent: agent))
        var resets = 0
        jobs.onSweep = { sweeps.insert($0) }
        jobs.onReset = { resets += 1 }
        let run = Task { await jobs.run() }
        try await shown { sweeps.sweeps["a"]?.status == .paused }
        #expect(resets == 1 && sweeps.activeCount == 1)
        run.cancel()
    }

    @Test func anOlderStateDoesNotReplaceANewerOne() {
        let list = list()
        var told: [SweepStatus] = []
        list.onChange = { told.append($0.status) }
        list.insert(Sample.sweep("a", "COMPLETED", ["revision": 5]))
        list.insert(Sample.sweep("a", "RUNNING", ["revision": 4]))
        #expect(list.sweeps["a"]?.status == .completed && told == [.completed] && list.activeCount == 0)
        list.forget("a")
        #expect(list.sweeps.isEmpty)
    }

    @Test func olderSweepsComePageByPage() async throws {
        let transport = ScriptedTransport(
            .json(#"{"sweeps":[\#(Sample.sweepJSON("x"))],"next_cursor":"9"}"#),
            .json(#"{"sweeps":[\#(Sample.sweepJSON("y"))]}"#))
        let list = list(transport)
        try await list.loadOlder()
        #expect(list.hasOlder && list.sweeps.count == 1)
        try await list.loadOlder()
        try await list.loadOlder()
        #expect(!list.hasOlder && list.sweeps.count == 2 && !list.isLoadingOlder)
        #expect(transport.requests.map(\.target) == ["/sweeps?limit=50", "/sweeps?cursor=9&limit=50"])
        list.reset()
        #expect(list.hasOlder && list.sweeps.isEmpty)
    }

    @Test func searchAndOrder() {
        let list = list()
        list.insert(Sample.sweep("a", "RUNNING", ["created_at": "2026-01-02T00:00:00.000Z", "name": "Größer"]))
        list.insert(Sample.sweep("b", "COMPLETED", ["completed": 30, "trials": 30, "script_name": "other.py"]))
        #expect(list.visible.map(\.id) == ["a", "b"])
        list.sortOrder = [KeyPathComparator(\.progress, order: .reverse)]
        #expect(list.visible.map(\.id) == ["b", "a"])
        list.sortOrder = [KeyPathComparator(\.sortableStatus)]
        #expect(list.visible.map(\.id) == ["a", "b"])
        for (search, ids) in [("grosser", ["a"]), ("auc team=churn other", ["b"]), ("nothing", [])] {
            list.search = search
            #expect(list.visible.map(\.id) == ids, "\(search)")
        }
        #expect(list.latest(of: "other.py")?.id == "b" && list.latest(of: "none.py") == nil)
    }

    @Test func progressIsWords() {
        let sweep = Sample.sweep(
            "a", "RUNNING", ["completed": 18, "pruned": 3, "failed": 1, "cancelled": 1, "unfinished": 4])
        #expect(sweep.ended == 23 && sweep.progressWords == "23 of 60, 4 wait or run, 3 pruned, 1 failed, 1 cancelled")
        #expect(sweep.progress == 23.0 / 60)
        #expect(sweep.space["depth"]?.words == "2 to 32, logarithmic" && sweep.space["kind"]?.words == "a, b")
        #expect(SweepDimension(low: 0, high: 1, step: 0.5).words == "0 to 1 in steps of 0.5")
    }

    @Test func eachStateAllowsWhatTheAgentAllows() {
        func allowed(_ status: String, trials: Int = 60) -> [Bool] {
            let sweep = Sample.sweep("a", status, ["trials": trials])
            return [sweep.canPause, sweep.canResume, sweep.canCancel, sweep.canExtend]
        }
        #expect(allowed("RUNNING") == [true, false, true, true] && allowed("PAUSED") == [false, true, true, true])
        #expect(allowed("COMPLETED") == [false, false, false, true])
        for status in ["ENDING", "FAILED", "CANCELLED"] { #expect(allowed(status) == [false, false, false, false]) }
        #expect(allowed("COMPLETED", trials: 1000).last == false)
    }

    @Test func trialsAreShownByTheirSweepAlone() {
        let list = JobList(agent: Agent(ScriptedTransport(.open())), backoff: .quick)
        list.insert(Sample.job("a", "RUNNING"))
        #expect(!list.hidesTrials)
        list.insert(Sample.job("b", "RUNNING", ["sweep": "s", "trial": 0]))
        #expect(list.visible.map(\.id) == ["a"] && list.count(.running) == 1 && list.hidesTrials)
        #expect(list.running.count == 2, "the menu bar shows all that runs")
        list.showsTrials = true
        #expect(Set(list.visible.map(\.id)) == ["a", "b"] && list.count(.running) == 2 && !list.hidesTrials)
    }

    @Test func jobsOfAFleetAreSortedAndFoundByTheirHosts() {
        let list = JobList(agent: Agent(ScriptedTransport(.open())), backoff: .quick)
        list.insert(Sample.job("a", "RUNNING", ["host": "train-2"]))
        list.insert(Sample.job("b", "RUNNING", ["host": "train-1"]))
        list.sortOrder = [KeyPathComparator(\.sortableHost)]
        #expect(list.visible.map(\.id) == ["b", "a"])
        list.search = "train-2"
        #expect(list.visible.map(\.id) == ["a"])
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct SweepDetailTests {
    /// Answers by path; trials and the sweep anew for each request.
    final class Host: @unchecked Sendable {
        private let lock = NSLock()
        private var sweep = Sample.sweepJSON("s")
        private var pages: [String] = []
        private var asked: [String] = []

        func set(_ sweep: String, _ pages: String...) { lock.withLock { (self.sweep, self.pages) = (sweep, pages) } }

        /// What was asked since the last call.
        func requests() -> [String] {
            lock.withLock {
                defer { asked = [] }
                return asked
            }
        }

        var transport: ScriptedTransport {
            ScriptedTransport { request, _ in
                self.lock.withLock { () -> ScriptedTransport.Answer in
                    self.asked.append("\(request.method) \(request.target)")
                    guard request.target.contains("/trials") else { return .json(self.sweep) }
                    let at = request.target.contains("cursor=next") ? 1 : 0
                    let next = at + 1 < self.pages.count ? #","next_cursor":"next""# : ""
                    return .json(#"{"trials":[\#(self.pages[at])]\#(next)}"#)
                }
            }
        }
    }

    @Test func trialsAreAskedForAnewWhereTheyMayHaveChanged() async throws {
        let host = Host()
        host.set(Sample.sweepJSON("s"), Sample.trialJSON(0, value: 0.5), Sample.trialJSON(1, "RUNNING"))
        let detail = SweepDetail("s", agent: Agent(host.transport))
        let run = Task { await detail.run(every: 0.01) }
        try await shown { detail.isLoaded }
        #expect(detail.trials.map(\.trial) == [0, 1] && detail.trouble == nil)
        #expect(host.requests().count == 3)
        host.set(
            Sample.sweepJSON("s", "COMPLETED", ["revision": 2]), "", Sample.trialJSON(1, value: 0.7))
        detail.take(Sample.sweep("s", "COMPLETED", ["revision": 2]))
        try await shown { detail.trials.last?.value == 0.7 }
        #expect(host.requests() == ["GET /sweeps/s", "GET /sweeps/s/trials?cursor=next&limit=200"])
        #expect(detail.trials.map(\.trial) == [0, 1], "the first page was final")
        run.cancel()
        await run.value
    }

    @Test func aJobOfTheSweepIsToldAtOnce() async throws {
        let host = Host()
        host.set(Sample.sweepJSON("s"), Sample.trialJSON(0, "PENDING"))
        let detail = SweepDetail("s", agent: Agent(host.transport))
        let run = Task { await detail.run(every: 0.01) }
        try await shown { detail.isLoaded }
        detail.take(Sample.job("job0", "RUNNING", ["started_at": "2026-01-01T00:00:10.000Z"]))
        #expect(detail.trials[0].status == .running && detail.trials[0].duration(at: Date()) ?? 0 > 0)
        detail.take(Sample.job("other", "FAILED"))
        detail.take(Sample.job("job0", "CANCELLED", ["reason": "pruned", "finished_at": Sample.time]))
        detail.take(Sample.job("job0", "RUNNING"))
        #expect(detail.trials.map(\.status) == [.cancelled] && detail.trials[0].reason == .pruned)
        run.cancel()
    }

    @Test func aSweepThatIsGoneIsSaid() async {
        let detail = SweepDetail("s", agent: Agent(ScriptedTransport(.problem(404, "sweep-not-found"))))
        await detail.run(every: 0.01)
        #expect(detail.trouble?.mayPass == false && !detail.isLoaded)
    }

    @Test func eachActionIsACall() async {
        let host = Host()
        let detail = SweepDetail("s", agent: Agent(host.transport), sweep: Sample.sweep("s"))
        var states = 0
        detail.onSweep = { _ in states += 1 }
        host.set(Sample.sweepJSON("s", "PAUSED", ["revision": 9]))
        await detail.pause()
        #expect(detail.sweep?.status == .paused && !detail.isActing)
        await detail.resume()
        await detail.cancel()
        await detail.extend(to: 80)
        await detail.setPinned(true)
        await detail.setPinned(false)
        #expect(
            host.requests() == [
                "POST /sweeps/s/pause", "POST /sweeps/s/resume", "POST /sweeps/s/cancel", "POST /sweeps/s/extend",
                "PUT /sweeps/s/pin", "DELETE /sweeps/s/pin",
            ])
        #expect(states == 6 && detail.actionTrouble == nil)
    }

    @Test func aRefusedActionIsSaid() async {
        let detail = SweepDetail("s", agent: Agent(ScriptedTransport(.problem(409, "sweep-ended", "It has ended."))))
        await detail.pause()
        #expect(detail.actionTrouble?.title == "It has ended." && !detail.isActing)
    }

    nonisolated static func metrics(_ name: String, complete: Bool) -> String {
        let point = #"{"step":0,"value":1,"time":"\#(Sample.time)"}"#
        let series = #"{"name":"\#(name)","count":1,"every":1,"points":[\#(point)]}"#
        return #"{"job_id":"x","complete":\#(complete),"series":[\#(series)],"refused":0}"#
    }

    @Test func curvesOfTrialsThatHaveEndedAreAskedForOnce() async {
        let transport = ScriptedTransport { request, _ in
            switch request.target {
            case "/jobs/job0/metrics": .json(Self.metrics("auc", complete: true))
            case "/jobs/job1/metrics": .json(Self.metrics("auc", complete: false))
            case "/jobs/job2/metrics": .json(Self.metrics("loss", complete: true))
            default: .problem(404, "job-not-found")
            }
        }
        let curves = TrialCurves(agent: Agent(transport))
        let began = ["started_at": Sample.time]
        let trials = (0...3).map { Sample.trial($0, "COMPLETED", [:], began) } + [Sample.trial(4, "PENDING")]
        await curves.load(trials.reversed(), metric: "auc")
        #expect(curves.curves.map(\.trial) == [0, 1], "in the order of their numbers, without those that have none")
        await curves.load([trials[0], trials[1]], metric: "auc")
        #expect(transport.requests.count { $0.target == "/jobs/job0/metrics" } == 1)
        #expect(transport.requests.count { $0.target == "/jobs/job1/metrics" } == 2)
        await curves.load([trials[1]], metric: "auc")
        #expect(curves.curves.map(\.id) == ["job1"])
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct TrialTests {
    let sweep = Sample.sweep()

    func rows(_ trials: SweepTrial...) -> [TrialRow] { TrialRow.rows(of: trials, in: sweep) }

    @Test func theBestIsTheFirstOfTheBestThatHaveCompleted() {
        let rows = rows(
            Sample.trial(0, value: 0.7), Sample.trial(1, value: 0.9), Sample.trial(2, value: 0.9),
            Sample.trial(3, "CANCELLED", value: 0.99, [:], ["reason": "pruned"]), Sample.trial(4, "RUNNING"))
        #expect(rows.map(\.rank) == [2, 0, 1, nil, nil] && rows.map(\.isBest) == [false, true, false, false, false])
        let down = Sample.sweep("a", "RUNNING", ["objective": ["metric": "loss", "direction": "minimize"]])
        #expect(
            TrialRow.rows(of: [Sample.trial(0, value: 1), Sample.trial(1, value: 0)], in: down).map(\.rank) == [1, 0])
        #expect(TrialOrder.best(of: down).order == .forward && TrialOrder.best(of: sweep).order == .reverse)
    }

    @Test func eachColumnSortsAndWhatIsAbsentComesLast() {
        let rows = rows(
            Sample.trial(0, "RUNNING", ["depth": "10", "kind": "b"], ["started_at": Sample.time]),
            Sample.trial(1, value: 0.5, ["depth": "9", "kind": "a"]), Sample.trial(2, value: 1e-3, ["depth": "1e1"]))
        func order(_ column: TrialOrder.Column, _ order: SortOrder = .forward) -> [Int] {
            rows.sorted(by: [TrialOrder(column, order: order)]).map(\.trial.trial)
        }
        #expect(order(.number, .reverse) == [2, 1, 0] && order(.status) == [0, 1, 2])
        #expect(order(.value) == [2, 1, 0] && order(.value, .reverse) == [1, 2, 0])
        #expect(order(.parameter(0)) == [1, 0, 2], "numbers are no words, and 10 is 1e1")
        #expect(order(.parameter(1)) == [1, 0, 2] && order(.parameter(1), .reverse) == [0, 1, 2])
        #expect(order(.duration) == [0, 1, 2] && order(.parameter(9)) == [0, 1, 2])
        #expect(rows[1].words(from: 0, names: sweep.dimensionNames) == "depth 9, kind a" && rows[2].value(1) == "")
        #expect(SortKey("word").compare(SortKey("1")) == .orderedDescending)
        #expect(SortKey("1").compare(SortKey("word")) == .orderedAscending)
    }

    @Test func curvesAreThoseOfTheSelectedOrTheBest() {
        let rows = TrialRow.rows(
            of: (0..<30).map { Sample.trial($0, $0 < 24 ? "COMPLETED" : "RUNNING", value: $0 < 24 ? Double($0) : nil) },
            in: sweep)
        #expect(TrialCurves.chosen(rows, selected: ["job3", "job1"]).map(\.trial) == [1, 3])
        #expect(TrialCurves.chosen(rows, selected: []).map(\.trial) == Array(16...27))
        #expect(TrialCurves.chosen(rows, selected: Set(rows.map(\.id))).count == TrialCurves.most)
    }

    // MARK: Parallel coordinates

    @Test func axesHaveTheBoundsOfTheSpace() {
        let rows = rows(Sample.trial(0, value: 0.5, ["depth": "8", "kind": "b"]), Sample.trial(1, value: 0.9))
        let chart = ParallelCoordinates(sweep, rows: rows)
        #expect(chart.axes.map(\.name) == ["depth", "kind", "auc"])
        #expect(chart.axes.map(\.scale) == [.logarithmic(2, 32), .words(["a", "b"]), .linear(0.5, 0.9)])
        #expect(chart.axes[0].labels.map { "\($0.text) \($0.at)" } == ["2 0.0", "32 1.0"])
        #expect(chart.axes[1].labels.map(\.at) == [0, 1])
        #expect(chart.lines.map(\.trial) == [0], "a point alone is no line")
        #expect(chart.lines[0].points.map { ($0.at * 1000).rounded() } == [500, 1000, 0])
        #expect(chart.lines[0].words == "depth 8, kind b, auc 0.5")
    }

    @Test func betterLinesAreAboveTheOthersAndTheSelectedAboveAll() {
        let rows = TrialRow.rows(
            of: [
                Sample.trial(0, value: 0.9, ["depth": "2"]), Sample.trial(1, value: 0.1, ["depth": "3"]),
                Sample.trial(2, "FAILED", ["depth": "4", "kind": "a"]), Sample.trial(3, value: 0.5, ["depth": "99"]),
            ], in: sweep)
        let chart = ParallelCoordinates(sweep, rows: rows, selected: ["job1"])
        #expect(chart.lines.map(\.trial) == [2, 3, 0, 1] && chart.lines.map(\.isBest) == [false, false, true, false])
        #expect(chart.lines.map(\.quality) == [nil, 0.5, 1, 0] && chart.lines.last?.isSelected == true)
        #expect(chart.lines[1].points[0].at == 1, "what is beyond the bounds is at the end of the axis")
    }

    @Test func tooManyLinesAreTheBestOfThem() {
        let trials = (0..<250).map { Sample.trial($0, value: Double($0), ["depth": "4"]) }
        let chart = ParallelCoordinates(sweep, rows: TrialRow.rows(of: trials, in: sweep))
        #expect(chart.lines.count == ParallelCoordinates.most && chart.leftOut == 50 && chart.lines.last?.trial == 249)
        #expect(chart.lines.first?.trial == 50)
    }

    @Test func spacesOfAllKindsHaveAScale() {
        let space: [String: [String: Any]] = [
            "auc": ["type": "number", "low": 3, "high": 3], "free": [:], "words": [:],
        ]
        let odd = Sample.sweep("a", "RUNNING", ["space": space])
        let rows = TrialRow.rows(
            of: [
                Sample.trial(0, value: 1, ["auc": "3", "free": "2", "words": "x"]),
                Sample.trial(1, value: 1, ["auc": "3", "free": "4", "words": "y"]),
            ], in: odd)
        let chart = ParallelCoordinates(odd, rows: rows)
        #expect(chart.axes.map(\.name) == ["auc", "free", "words", "auc (objective)"])
        #expect(chart.axes.map(\.scale) == [.linear(3, 3), .linear(2, 4), .words(["x", "y"]), .linear(1, 1)])
        #expect(chart.axes[0].labels.map(\.at) == [0.5] && chart.lines[0].points.map(\.at) == [0.5, 1, 1, 0.5])
        #expect(ParallelCoordinates(odd, rows: []).axes.count == 3)
    }
}
