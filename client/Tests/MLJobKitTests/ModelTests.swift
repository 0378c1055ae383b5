import Foundation
import Testing

@testable import MLJobKit

/// The models against an example of every schema of the agent's OpenAPI document, which `fixtures.py` writes.
@Suite(.timeLimit(.minutes(5))) struct ModelTests {
    typealias Object = [String: Any]

    /// A schema of the document and the type that reads it.
    struct Reader: Sendable, CustomTestStringConvertible {
        let schema: String
        let members: Set<String>
        /// What else the type reads: of a sweep, what its trials have in common, as far as jobs have it, too.
        let common: Set<String>
        let roundTrip: @Sendable (Data) throws -> Data

        init<Model: Codable, Keys: CodingKey & CaseIterable>(_ schema: String, _ type: Model.Type, _ keys: Keys.Type) {
            self.schema = schema
            members = Set(keys.allCases.map(\.stringValue))
            common = type == SweepRequest.self ? Set(JobRequest.CodingKeys.allCases.map(\.stringValue)) : []
            roundTrip = { try JSONEncoder.ofAgent().encode(JSONDecoder.ofAgent().decode(Model.self, from: $0)) }
        }

        var testDescription: String { schema }
    }

    static let readers: [Reader] = [
        Reader("Alias", ModelAlias.self, ModelAlias.CodingKeys.self),
        Reader("AliasHistory", AliasHistory.self, AliasHistory.CodingKeys.self),
        Reader("AliasTarget", AliasTarget.self, AliasTarget.CodingKeys.self),
        Reader("Artifact", Artifact.self, Artifact.CodingKeys.self),
        Reader("ArtifactManifest", ArtifactManifest.self, ArtifactManifest.CodingKeys.self),
        Reader("Attempt", Attempt.self, Attempt.CodingKeys.self),
        Reader("Best", BestTrial.self, BestTrial.CodingKeys.self),
        Reader("CommitDifference", CommitDifference.self, CommitDifference.CodingKeys.self),
        Reader("ComparedJob", ComparedJob.self, ComparedJob.CodingKeys.self),
        Reader("Comparison", Comparison.self, Comparison.CodingKeys.self),
        Reader("Current", StreamCurrent.self, StreamCurrent.CodingKeys.self),
        Reader("Difference", Difference.self, Difference.CodingKeys.self),
        Reader("Dimension", SweepDimension.self, SweepDimension.CodingKeys.self),
        Reader("Drain", Drain.self, Drain.CodingKeys.self),
        Reader("Evidence", Evidence.self, Evidence.CodingKeys.self),
        Reader("Explanation", Explanation.self, Explanation.CodingKeys.self),
        Reader("Extension", SweepExtension.self, SweepExtension.CodingKeys.self),
        Reader("FieldProblem", FieldProblem.self, FieldProblem.CodingKeys.self),
        Reader("Host", HostInfo.self, HostInfo.CodingKeys.self),
        Reader("HostEntry", HostEntry.self, HostEntry.CodingKeys.self),
        Reader("HostList", HostList.self, HostList.CodingKeys.self),
        Reader("IgnoredMarks", IgnoredMarks.self, IgnoredMarks.CodingKeys.self),
        Reader("Job", Job.self, Job.CodingKeys.self),
        Reader("JobDifference", JobDifference.self, JobDifference.CodingKeys.self),
        Reader("JobInput", JobInput.self, JobInput.CodingKeys.self),
        Reader("JobMetric", JobMetric.self, JobMetric.CodingKeys.self),
        Reader("JobMetrics", JobMetrics.self, JobMetrics.CodingKeys.self),
        Reader("JobPage", JobPage.self, JobPage.CodingKeys.self),
        Reader("JobProgress", JobProgress.self, JobProgress.CodingKeys.self),
        Reader("JobQueuePlace", JobQueuePlace.self, JobQueuePlace.CodingKeys.self),
        Reader("JobRemoved", JobRemoved.self, JobRemoved.CodingKeys.self),
        Reader("JobRequest", JobRequest.self, JobRequest.CodingKeys.self),
        Reader("LeftOut", LeftOut.self, LeftOut.CodingKeys.self),
        Reader("Limits", Limits.self, Limits.CodingKeys.self),
        Reader("LogGap", LogGap.self, LogGap.CodingKeys.self),
        Reader("LogLine", LogLine.self, LogLine.CodingKeys.self),
        Reader("LoggedCommit", LoggedCommit.self, LoggedCommit.CodingKeys.self),
        Reader("MetricDifference", MetricDifference.self, MetricDifference.CodingKeys.self),
        Reader("MetricPoint", MetricPoint.self, MetricPoint.CodingKeys.self),
        Reader("MetricSeries", MetricSeries.self, MetricSeries.CodingKeys.self),
        Reader("MetricSummary", MetricSummary.self, MetricSummary.CodingKeys.self),
        Reader("NamedInput", RequestedInput.self, RequestedInput.CodingKeys.self),
        Reader("NamedModel", NamedModel.self, NamedModel.CodingKeys.self),
        Reader("NamedModelPage", NamedModelPage.self, NamedModelPage.CodingKeys.self),
        Reader("Objective", SweepObjective.self, SweepObjective.CodingKeys.self),
        Reader("Parameter", Parameter.self, Parameter.CodingKeys.self),
        Reader("ProblemDocument", Problem.self, Problem.CodingKeys.self),
        Reader("Progress", Progress.self, Progress.CodingKeys.self),
        Reader("QueuePlace", QueuePlace.self, QueuePlace.CodingKeys.self),
        Reader("Readers", Readers.self, Readers.CodingKeys.self),
        Reader("Removal", Removal.self, Removal.CodingKeys.self),
        Reader("RenewedCertificate", IssuedCertificate.self, IssuedCertificate.CodingKeys.self),
        Reader("RequestedDimension", SweepDimension.self, SweepDimension.CodingKeys.self),
        Reader("RequestedInput", RequestedInput.self, RequestedInput.CodingKeys.self),
        Reader("RequestedLimits", Limits.self, Limits.CodingKeys.self),
        Reader("RequestedObjective", SweepObjective.self, SweepObjective.CodingKeys.self),
        Reader("RequestedReaders", ReadersRequest.self, ReadersRequest.CodingKeys.self),
        Reader("Rerun", RerunRequest.self, RerunRequest.CodingKeys.self),
        Reader("Reset", StreamReset.self, StreamReset.CodingKeys.self),
        Reader("Resources", Resources.self, Resources.CodingKeys.self),
        Reader("Schedule", Schedule.self, Schedule.CodingKeys.self),
        Reader("ScheduledJob", JobRequest.self, JobRequest.CodingKeys.self),
        Reader("ScheduledSweep", SweepRequest.self, SweepRequest.CodingKeys.self),
        Reader("SchedulePage", SchedulePage.self, SchedulePage.CodingKeys.self),
        Reader("SchedulePreview", SchedulePreview.self, SchedulePreview.CodingKeys.self),
        Reader("ScheduleRequest", ScheduleRequest.self, ScheduleRequest.CodingKeys.self),
        Reader("ScheduleRun", ScheduleRun.self, ScheduleRun.CodingKeys.self),
        Reader("ScheduleRunPage", ScheduleRunPage.self, ScheduleRunPage.CodingKeys.self),
        Reader("Script", Script.self, Script.CodingKeys.self),
        Reader("ScriptList", ScriptList.self, ScriptList.CodingKeys.self),
        Reader("SecretChange", SecretChange.self, SecretChange.CodingKeys.self),
        Reader("SecretEntry", SecretEntry.self, SecretEntry.CodingKeys.self),
        Reader("SecretList", SecretList.self, SecretList.CodingKeys.self),
        Reader("SigningRequest", CertificateRequest.self, CertificateRequest.CodingKeys.self),
        Reader("Sweep", Sweep.self, Sweep.CodingKeys.self),
        Reader("SweepPage", SweepPage.self, SweepPage.CodingKeys.self),
        Reader("SweepRequest", SweepRequest.self, SweepRequest.CodingKeys.self),
        Reader("SweepRerun", SweepRerun.self, SweepRerun.CodingKeys.self),
        Reader("Trial", SweepTrial.self, SweepTrial.CodingKeys.self),
        Reader("TrialPage", TrialPage.self, TrialPage.CodingKeys.self),
        Reader("Usage", Usage.self, Usage.CodingKeys.self),
        Reader("UsageReport", UsageReport.self, UsageReport.CodingKeys.self),
        Reader("UsageRow", UsageRow.self, UsageRow.CodingKeys.self),
        Reader("UserQueue", UserQueue.self, UserQueue.CodingKeys.self),
        Reader("Versions", Versions.self, Versions.CodingKeys.self),
    ]

    static let words: [String: [String]] = [
        "EvidenceSource": [EvidenceSource.record, .queue, .log, .usage].map(\.rawValue),
        "JobState": JobStatus.known.map(\.rawValue),
        "LogSource": [LogSource.job, .system].map(\.rawValue),
        "LogStream": [LogOutput.stdout, .stderr].map(\.rawValue),
        "ParameterType": [ParameterType.string, .integer, .number, .boolean].map(\.rawValue),
        "Reason": [
            Reason.exitCode, .signal, .oomKill, .timeout, .startFailed, .interrupted, .cancelled, .stopped,
            .artifactQuota, .storageFull, .artifactMissing, .pruned, .dependency, .input,
        ].map(\.rawValue),
        "Direction": Direction.known.map(\.rawValue),
        "Overlap": ScheduleOverlap.known.map(\.rawValue),
        "Pruner": SweepPruner.known.map(\.rawValue),
        "RunReason": ScheduleRunReason.known.map(\.rawValue),
        "RunState": ScheduleRunStatus.known.map(\.rawValue),
        "ScheduleReason": ScheduleReason.known.map(\.rawValue),
        "ScheduleState": ScheduleStatus.known.map(\.rawValue),
        "Strategy": SweepStrategy.known.map(\.rawValue),
        "SweepReason": SweepReason.known.map(\.rawValue),
        "SweepState": SweepStatus.known.map(\.rawValue),
        "UsageKey": [UsageKey.user, .script, .label].map(\.rawValue),
        "RetentionRule": [RetentionRule.age, .count, .bytes].map(\.rawValue),
    ]

    static func schemas() throws -> [String: Object] {
        try #require(JSONSerialization.jsonObject(with: Fixture.data("schemas.json")) as? [String: Object])
    }

    static func schema(_ reader: Reader) throws -> Object { try #require(try schemas()[reader.schema]) }

    static func data(_ object: Any) throws -> Data { try JSONSerialization.data(withJSONObject: object) }

    @Test func everySchemaHasAModel() throws {
        let known = Set(Self.readers.map(\.schema)).union(Self.words.keys)
        #expect(Set(try Self.schemas().keys) == known)
    }

    @Test(arguments: readers) func everyMemberIsModelled(_ reader: Reader) throws {
        let full = try #require(try Self.schema(reader)["full"] as? Object)
        #expect(Set(full.keys) == reader.members.union(reader.common.intersection(full.keys)))
    }

    @Test(arguments: readers) func everyMemberSurvivesARoundTrip(_ reader: Reader) throws {
        // A request's optional members are for this side to leave out.
        for example in ["JobRequest", "SweepRequest"].contains(reader.schema) ? ["full"] : ["full", "least"] {
            let object = try #require(try Self.schema(reader)[example] as? Object)
            let written = try JSONSerialization.jsonObject(with: reader.roundTrip(Self.data(object)))
            let kept = try #require(written as? Object).filter { object.keys.contains($0.key) }
            #expect(kept as NSDictionary == object as NSDictionary, "\(example)")
        }
    }

    @Test(arguments: readers) func everyMemberHasItsType(_ reader: Reader) throws {
        let schema = try Self.schema(reader)
        let full = try #require(schema["full"] as? Object)
        for (member, wrong) in try #require(schema["wrong"] as? Object) {
            let data = try Self.data(full.merging([member: wrong]) { $1 })
            #expect(throws: (any Error).self, "\(reader.schema).\(member) takes \(wrong)") {
                try reader.roundTrip(data)
            }
        }
    }

    @Test(arguments: readers) func unknownMembersAreIgnored(_ reader: Reader) throws {
        var full = try #require(try Self.schema(reader)["full"] as? Object)
        full["since_a_later_version"] = ["anything": [1, "two", NSNull()]]
        #expect(throws: Never.self) { try reader.roundTrip(Self.data(full)) }
    }

    /// The same at each depth: of a page, also in its jobs and their attempts.
    @Test(arguments: readers) func unknownMembersAreIgnoredAtEachDepth(_ reader: Reader) throws {
        let full = try #require(try Self.schema(reader)["full"] as? Object)
        let later = Self.later(full, words: [])
        let written = try JSONSerialization.jsonObject(with: reader.roundTrip(Self.data(later)))
        #expect(written as? NSDictionary == full as NSDictionary)
    }

    /// States, reasons and all other words of a later agent are kept as they are.
    @Test(arguments: readers) func unknownWordsAreKept(_ reader: Reader) throws {
        let full = try #require(try Self.schema(reader)["full"] as? Object)
        let known = try Set(Self.words.keys.flatMap { try #require(Self.schemas()[$0]?["values"] as? [String]) })
        let later = try #require(Self.later(full, words: known) as? Object)
        let written = try JSONSerialization.jsonObject(with: reader.roundTrip(Self.data(later)))
        #expect(written as? NSDictionary == Self.without("since_a_later_version", later) as? NSDictionary)
    }

    /// An example with a member more in each object that has members of its own, and another word for each of `words`.
    static func later(_ value: Any, words: Set<String>) -> Any {
        switch value {
        case let object as Object:
            let changed = object.mapValues { later($0, words: words) }
            // In the examples, an object with this member has names that a person chose.
            guard object["n_estimators"] == nil else { return changed }
            return changed.merging(["since_a_later_version": ["anything": [1, "two", NSNull()]]]) { $1 }
        case let array as [Any]: return array.map { later($0, words: words) }
        case let text as String where words.contains(text): return "of-a-later-version"
        default: return value
        }
    }

    static func without(_ member: String, _ value: Any) -> Any {
        if let array = value as? [Any] { return array.map { without(member, $0) } }
        guard let object = value as? Object else { return value }
        return object.filter { $0.key != member }.mapValues { without(member, $0) }
    }

    @Test(arguments: words.keys.sorted()) func everyWordIsKnown(_ name: String) throws {
        let values = try #require(try Self.schemas()[name]?["values"] as? [String])
        #expect(values.sorted() == Self.words[name]?.sorted())
    }

    @Test func unknownReasonsAndStatesAreKept() throws {
        var object = try #require(try Self.schemas()["Job"]?["full"] as? Object)
        object["reason"] = "eaten-by-a-bear"
        object["status"] = "HIBERNATING"
        let job = try JSONDecoder.ofAgent().decode(Job.self, from: Self.data(object))
        #expect(job.reason?.description == "eaten-by-a-bear")
        #expect(job.status.rawValue == "HIBERNATING" && !job.status.isFinal && !job.status.isRunning)
    }

    @Test func membersOfAnOlderAgentMayBeMissing() throws {
        let job = try Sample.decode(
            Job.self,
            """
            {"job_id":"a","status":"RUNNING","container_id":"","owner":"alice","script_name":"s.py",
             "hyperparameters":{},"created_at":"2026-01-01T00:00:00Z"}
            """)
        #expect(job.revision == 1 && job.attempt == 1 && job.retryOn == Reason.retriedByDefault && !job.pinned)
        let parameter = try Sample.decode(Parameter.self, #"{"name":"p"}"#)
        #expect(parameter == Parameter(name: "p"))
        #expect(try Sample.decode(Script.self, #"{"script_name":"s.py"}"#) == Script(name: "s.py"))
        let problem = try Sample.decode(Problem.self, #"{"status":404}"#)
        #expect(problem.code == "blank" && problem.errors.isEmpty)
    }

    @Test func timesHaveMilliseconds() throws {
        let date = try #require(AgentTime.parse("2026-03-01T23:59:59.007Z"))
        #expect(AgentTime.format(date) == "2026-03-01T23:59:59.007Z")
        #expect(AgentTime.parse("1970-01-01T00:00:00.000Z") == Date(timeIntervalSince1970: 0))
        #expect(AgentTime.parse("2000-02-29T12:00:00Z") == Date(timeIntervalSince1970: 951_825_600))
        for wrong in ["", "2026-13-01T00:00:00.000Z", "2026-01-01", "2026-01-01T00:00:0x.000Z", "now"] {
            #expect(AgentTime.parse(wrong) == nil, "\(wrong)")
        }
    }

    @Test func fastTimesAgreeWithFoundation() throws {
        for days in stride(from: -20_000, to: 60_000, by: 37) {
            let date = Date(timeIntervalSince1970: Double(days) * 86_400 + 12_345.678)
            let text = AgentTime.format(date)
            #expect(AgentTime.milliseconds(text) == Int((date.timeIntervalSince1970 * 1000).rounded()), "\(text)")
        }
    }

    @Test func aProblemSaysWhatToDo() {
        let problem = Problem(
            code: "invalid-request", title: "Invalid request", status: 422, detail: "Not valid.", hint: "Look.",
            errors: [FieldProblem(field: "name", message: "is long")])
        #expect(problem.description == "Not valid. Look.\nname: is long")
        #expect(problem.errorDescription == "Not valid." && problem.recoverySuggestion == "Look.")
        #expect(problem.code == "invalid-request" && !problem.mayPass)
        #expect(Problem(code: "busy", title: "", status: 429, detail: "").mayPass)
    }
}
