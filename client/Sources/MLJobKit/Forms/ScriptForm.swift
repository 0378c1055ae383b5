import Foundation
import Observation

/// The form of a new job: built from what its script declares, checked by the agent's rules.
@MainActor @Observable
public final class ScriptForm {
    public let script: Script
    /// The job that is run again, if this is its form.
    public let original: Job?
    public var fields: [ParameterField]
    public var name = ""
    /// The commit, tag or branch; empty for the site's current commit.
    public var ref = ""
    public var labels: [Label] = []
    public var limits = LimitsForm()
    public var priority = 0
    public var maxAttempts = 1
    public var retryOn = Set(Reason.retriedByDefault)
    /// What it takes from earlier jobs. A rerun has the inputs of its job, and waits for nobody.
    public var earlier = EarlierJobs()
    /// The agent's objections to what is no hyperparameter, by field.
    public private(set) var refused: [String: String] = [:]

    public struct Label: Identifiable, Hashable, Sendable {
        public let id = UUID()
        public var key: String
        public var value: String

        public init(key: String = "", value: String = "") {
            self.key = key
            self.value = value
        }
    }

    /// One difference between a job and its rerun.
    public struct Change: Identifiable, Hashable, Sendable {
        public var id: String { field }
        /// A hyperparameter's name, or what else it is.
        public let field: String
        /// Nil where the job did not have it.
        public let before: String?
        public let after: String?
    }

    /// A new job.
    public init(script: Script, ref: String = "") {
        self.script = script
        self.ref = ref
        original = nil
        fields = script.parameters.map { ParameterField($0) }
    }

    /// A job run again, with what it was given. Its commit is fixed, so `script` should be the declaration there; a
    /// parameter that it does not have is a field of its own.
    public init(rerun job: Job, script: Script?) {
        let script = script ?? Script(name: job.scriptName, anyParameters: true)
        self.script = script
        original = job
        let declared = Set(script.parameters.map(\.name))
        fields = script.parameters.map { ParameterField($0, value: job.hyperparameters[$0.name]) }
        fields += job.hyperparameters.filter { !declared.contains($0.key) }.sorted { $0.key < $1.key }
            .map { ParameterField(name: $0.key, value: $0.value) }
        name = job.name ?? ""
        labels = job.labels.sorted { $0.key < $1.key }.map { Label(key: $0.key, value: $0.value) }
        limits = LimitsForm(job.limits)
        maxAttempts = job.maxAttempts
        retryOn = Set(job.retryOn)
    }

    // MARK: Checking

    /// Everything that is wrong, by field: `hyperparameters.depth`, `limits.cpus`, `name`, …
    public var objections: [String: String] {
        refused.merging(earlier.objections) { $1 }.merging(ownObjections) { $1 }
    }

    /// What this side finds wrong; the agent's objections do not keep anybody from trying again.
    var ownObjections: [String: String] {
        var found = earlier.ownObjections
        for field in fields {
            if let objection = field.objection { found["hyperparameters.\(field.name)"] = objection }
        }
        for (field, objection) in limits.objections { found["limits.\(field)"] = objection }
        if let objection = Self.twice(fields.filter(\.isGiven).map(\.name)) { found["hyperparameters"] = objection }
        if let objection = sizeObjection { found["hyperparameters"] = objection }
        if name.unicodeScalars.count > 128 { found["name"] = "must have 128 characters at most" }
        if let objection = ParameterCheck.text(name) { found["name"] = objection }
        if !ref.isEmpty, ref.count > 255 || ref.wholeMatch(of: /[A-Za-z0-9][A-Za-z0-9._\/-]*/) == nil {
            found["ref"] = "must be a commit, tag or branch"
        }
        for label in labels {
            if let objection = Self.objection(to: label) { found["labels.\(label.key)"] = objection }
        }
        return found
    }

    public var isValid: Bool { ownObjections.isEmpty }

    private var sizeObjection: String? {
        let given = fields.filter(\.isGiven)
        if given.count > ParameterCheck.mostParameters { return "must be \(ParameterCheck.mostParameters) at most" }
        let bytes = given.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count }
        return bytes > ParameterCheck.mostBytes
            ? "must have \(ParameterCheck.mostBytes) bytes at most, names and values together" : nil
    }

    private static func twice(_ names: [String]) -> String? {
        var seen: [String: String] = [:]
        for name in names {
            if let other = seen.updateValue(name, forKey: name.uppercased()) {
                return "\(other) and \(name) would both be HP_\(name.uppercased())"
            }
        }
        return nil
    }

    private static func objection(to label: Label) -> String? {
        if label.key.count > 63 || label.key.wholeMatch(of: /[a-z][a-z0-9._\/-]*/) == nil {
            return "must be lowercase letters, digits and ._/-, a letter first"
        }
        return label.value.unicodeScalars.count > 255
            ? "must have 255 characters at most" : ParameterCheck.text(label.value)
    }

    /// Shows what the agent refused beside its fields.
    public func show(_ problems: [FieldProblem]) {
        clearRefusals()
        for problem in problems {
            if let at = fields.firstIndex(where: { "hyperparameters.\($0.name)" == problem.field }) {
                fields[at].refused = (fields[at].value, problem.message)
            } else if !earlier.refuse(problem) {
                refused[problem.field] = problem.message
            }
        }
    }

    /// Forgets the agent's objections to what is no hyperparameter, before another attempt.
    public func clearRefusals() {
        refused = [:]
        earlier.clearRefusals()
    }

    // MARK: What is sent

    private var hyperparameters: [String: String] {
        Dictionary(fields.filter(\.isGiven).map { ($0.name, $0.value) }) { _, last in last }
    }

    public var request: JobRequest {
        let limits = limits.limits
        return JobRequest(
            scriptName: script.name, hyperparameters: hyperparameters, ref: ref.isEmpty ? nil : ref,
            name: name.isEmpty ? nil : name,
            labels: labels.isEmpty ? nil : Dictionary(labels.map { ($0.key, $0.value) }) { _, last in last },
            limits: limits.isEmpty ? nil : limits, priority: priority == 0 ? nil : priority,
            maxAttempts: maxAttempts == 1 ? nil : maxAttempts,
            retryOn: retryOn == Set(Reason.retriedByDefault) ? nil : Reason.retryable.filter(retryOn.contains),
            after: earlier.requestedAfter, inputs: earlier.requestedInputs)
    }

    /// What differs from the job that is run again.
    public var rerun: RerunRequest {
        guard let original else { return RerunRequest() }
        let changed = hyperparameters.filter { original.hyperparameters[$0.key] != $0.value }
        let limits = Self.difference(limits.limits, original.limits)
        let relabelled = labels.filter { original.labels[$0.key] != $0.value }.map { ($0.key, $0.value) }
        return RerunRequest(
            name: name == original.name ?? "" ? nil : name,
            labels: relabelled.isEmpty ? nil : Dictionary(relabelled) { _, last in last },
            hyperparameters: changed.isEmpty ? nil : changed, limits: limits.isEmpty ? nil : limits,
            maxAttempts: maxAttempts == original.maxAttempts ? nil : maxAttempts,
            retryOn: retryOn == Set(original.retryOn) ? nil : Reason.retryable.filter(retryOn.contains))
    }

    private static func difference(_ new: Limits, _ old: Limits) -> Limits {
        func changed<Value: Equatable>(_ path: KeyPath<Limits, Value?>) -> Value? {
            new[keyPath: path] == old[keyPath: path] ? nil : new[keyPath: path]
        }
        return Limits(
            memoryBytes: changed(\.memoryBytes), cpus: changed(\.cpus), tasks: changed(\.tasks),
            runTimeSeconds: changed(\.runTimeSeconds), graceSeconds: changed(\.graceSeconds),
            artifactBytes: changed(\.artifactBytes), artifactFiles: changed(\.artifactFiles))
    }

    /// What the rerun changes, for a person. A hyperparameter that is emptied stays as it was, and so does a label that
    /// is removed: the contract can change values, and not take them away.
    public var changes: [Change] {
        guard let original else { return [] }
        let rerun = rerun
        var found = (rerun.hyperparameters ?? [:]).sorted { $0.key < $1.key }
            .map { Change(field: $0.key, before: original.hyperparameters[$0.key], after: $0.value) }
        found += Self.limitRows.compactMap { title, value in
            let before = value(LimitsForm(original.limits))
            guard let after = rerun.limits.map({ value(LimitsForm($0)) }), !after.isEmpty else { return nil }
            return Change(field: title, before: before.isEmpty ? nil : before, after: after)
        }
        if let name = rerun.name { found.append(Change(field: "name", before: original.name, after: name)) }
        found += (rerun.labels ?? [:]).sorted { $0.key < $1.key }
            .map { Change(field: "label \($0.key)", before: original.labels[$0.key], after: $0.value) }
        if let attempts = rerun.maxAttempts {
            found.append(Change(field: "attempts", before: String(original.maxAttempts), after: String(attempts)))
        }
        if let reasons = rerun.retryOn {
            func list(_ reasons: [Reason]) -> String { reasons.map(\.rawValue).sorted().joined(separator: ", ") }
            found.append(Change(field: "retry on", before: list(original.retryOn), after: list(reasons)))
        }
        return found
    }

    private static let limitRows: [(String, @Sendable (LimitsForm) -> String)] = [
        ("memory", { $0.memory }), ("CPUs", { $0.cpus }), ("tasks", { $0.tasks }), ("run time", { $0.runTime }),
        ("grace", { $0.grace }), ("artifact size", { $0.artifactBytes }), ("artifact files", { $0.artifactFiles }),
    ]
}
