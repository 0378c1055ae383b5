import Foundation
import Testing

@testable import MLJobKit

@MainActor @Suite(.timeLimit(.minutes(5))) struct ComparisonTests {
    nonisolated static func job(_ id: String, _ changes: [String: Any] = [:]) -> [String: Any] {
        let members: [String: Any] = [
            "job_id": id, "status": "COMPLETED", "owner": "alice", "script_name": "train.py",
            "hyperparameters": ["depth": "3"], "labels": [:] as [String: String], "commit": "c0ffee",
            "image_digest": "sha256:1", "attempt": 1, "created_at": Sample.time,
        ]
        return members.merging(changes) { $1 }
    }

    nonisolated static func json(_ jobs: [[String: Any]], _ changes: [String: Any] = [:]) -> String {
        let members: [String: Any] = ["jobs": jobs]
        return Sample.json(members.merging(changes) { $1 })
    }

    nonisolated static func metric(_ last: Double) -> [String: Any] { ["count": 1, "last": last] }

    func table(_ text: String, onlyDifferences: Bool = false) throws -> ComparisonTable {
        ComparisonTable(try Sample.decode(Comparison.self, text), onlyDifferences: onlyDifferences)
    }

    @Test func aRowForEachFactAndAColumnForEachJob() throws {
        let text = Self.json([
            Self.job("abcdefghijkl", ["name": "A", "metrics": ["auc": Self.metric(0.5), "loss": Self.metric(2)]]),
            Self.job(
                "b",
                ["hyperparameters": ["rate": "0.1"], "cpu_seconds": 90.4, "memory_peak_bytes": 1 << 30, "seconds": 60]),
        ])
        let table = try table(text)
        #expect(table.titles == ["A", "train.py"] && table.metrics == ["auc", "loss"])
        #expect(table.groups.map(\.title) == ["Job", "Hyperparameters", "Metrics", "Use"])
        let rows = table.groups.flatMap(\.rows)
        #expect(rows.first?.values == ["abcdefgh", "b"])
        let values = Dictionary(uniqueKeysWithValues: rows.map { ($0.id, $0.values) })
        #expect(values["hyperparameters.depth"] == ["3", ""] && values["hyperparameters.rate"] == ["", "0.1"])
        #expect(values["metrics.auc"] == ["0.5", ""] && values["CPU time"] == ["", "1m30s"])
        #expect(values["Memory at most"] == ["", "1 GiB"] && values["Duration"] == ["", "1m"])
        #expect(rows.allSatisfy { $0.best.isEmpty }, "no metric decides")
    }

    @Test func rowsThatAgreeMayBeLeftOut() throws {
        let same = try table(Self.json([Self.job("a"), Self.job("a")]), onlyDifferences: true)
        #expect(same.groups.isEmpty)
        let other = try table(Self.json([Self.job("a"), Self.job("a", ["commit": "beef"])]), onlyDifferences: true)
        #expect(other.groups.flatMap(\.rows).map(\.title) == ["Commit"])
    }

    @Test(arguments: [("maximize", Set([1, 2])), ("minimize", Set([0]))])
    func theBestIsMarkedWhereAMetricDecides(_ direction: String, _ best: Set<Int>) throws {
        let jobs = [0.1, 0.9, 0.9].enumerated().map { Self.job("job\($0)", ["metrics": ["auc": Self.metric($1)]]) }
        let objective = ["metric": "auc", "direction": direction]
        let table = try table(Self.json(jobs + [Self.job("none")], ["objective": objective]))
        #expect(table.groups.flatMap(\.rows).first { $0.id == "metrics.auc" }?.best == best)
    }

    @Test func theSelectedJobsAreCompared() async {
        let transport = ScriptedTransport(
            .json(Self.json([Self.job("a"), Self.job("b")])), .problem(404, "job-not-found", "No such job."))
        let model = ComparisonModel(agent: Agent(transport))
        #expect(model.table == nil)
        model.objective = SweepObjective(metric: "a/c", direction: .minimize)
        await model.load(["a", "b"])
        #expect(model.table?.titles.count == 2 && model.trouble == nil)
        await model.load((0..<30).map { "j\($0)" })
        #expect(model.trouble?.title == "No such job." && model.table != nil, "what is shown stays")
        #expect(transport.requests[0].target == "/comparison?job=a&job=b&minimize=a%2Fc")
        #expect(transport.requests[1].target.components(separatedBy: "job=").count - 1 == ComparisonModel.most)
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct DifferenceTests {
    @Test func linesOfADiffHaveTheirKinds() {
        let diff = "--- a/x.py\n+++ b/x.py\n@@ -1,3 +1,3 @@\n import os\n-old\n+new\n\n"
        let lines = DiffLine.lines(of: diff)
        #expect(lines.map(\.kind) == [.heading, .heading, .heading, .context, .removed, .added, .context])
        #expect(lines.map(\.id) == Array(0..<7) && lines[4].text == "-old" && lines[6].text.isEmpty)
        #expect(DiffLine.lines(of: "").isEmpty)
        #expect(DiffLine.lines(of: String(repeating: "+a\n", count: 3000)).count == DiffLine.most)
    }

    @Test func onlyGroupsThatDifferAreShown() throws {
        let same = #"{"a":"x","b":"y","hyperparameters":[],"limits":[],"inputs":[],"metrics":[]}"#
        #expect(try Sample.decode(JobDifference.self, same).isEmpty)
        let other = """
            {"a":"x","b":"y","image":{"name":"image","a":"1","b":"2"},
             "hyperparameters":[{"name":"depth","a":"3"},{"name":"rate","b":"0.1"}],"limits":[],"inputs":[],"metrics":[]}
            """
        let difference = try Sample.decode(JobDifference.self, other)
        #expect(!difference.isEmpty && difference.changes.map(\.title) == ["Script and image", "Hyperparameters"])
        #expect(difference.changes.flatMap(\.rows).map(\.name) == ["image", "depth", "rate"])
    }

    @Test(arguments: [
        (#"{"name":"m","a":{"count":1,"last":0.81},"b":{"count":1,"last":0.84},"change":0.03}"#, "0.81 → 0.84 (+0.03)"),
        (#"{"name":"m","a":{"count":1,"last":2},"b":{"count":1,"last":1},"change":-1}"#, "2 → 1 (−1)"),
        (#"{"name":"m","b":{"count":1,"last":1}}"#, "– → 1"),
    ]) func aMetricsChangeIsWords(_ json: String, _ words: String) throws {
        #expect(try Sample.decode(MetricDifference.self, json).words == words)
    }

    @Test func twoJobsAreAskedForInTheirOrder() async {
        let answer = #"{"a":"x","b":"y","hyperparameters":[],"limits":[],"inputs":[],"metrics":[]}"#
        let transport = ScriptedTransport(.json(answer), .problem(404, "job-not-found", "No such job."))
        let model = ComparisonModel(agent: Agent(transport))
        await model.loadDifference(from: "x", to: "y")
        #expect(model.difference?.b == "y" && transport.requests.map(\.target) == ["/jobs/x/diff/y"])
        await model.loadDifference(from: "x", to: "z")
        #expect(model.trouble?.title == "No such job.")
        let list = JobList(agent: Agent(transport), backoff: .quick)
        list.insert(Sample.job("b", "COMPLETED", ["created_at": "2026-01-01T00:00:00.000Z"]))
        list.insert(Sample.job("a", "COMPLETED", ["created_at": "2026-01-02T00:00:00.000Z"]))
        #expect(list.inOrderOfCreation(["a", "b", "z", "y"]) == ["b", "a", "y", "z"])
    }
}
