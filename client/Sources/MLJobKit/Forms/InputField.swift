import Foundation

/// One input of a new job: a file in /inputs, and where it comes from.
public struct InputField: Identifiable, Hashable, Sendable {
    public enum Source: String, Hashable, Sendable, CaseIterable, Identifiable {
        case job, model

        public var id: Self { self }
    }

    public let id = UUID()
    /// What the job calls it: /inputs/NAME.
    public var name = ""
    public var source = Source.job
    public var jobID = ""
    public var path = ""
    public var model = ""
    public var alias = ""
    private var refusals = Refusals()

    public init(name: String = "") { self.name = name }

    /// What is wrong, by field: `name`, and `job_id` and `path`, or `model` and `alias`.
    public var objections: [String: String] {
        var found: [String: String] = [:]
        for (field, value) in values { found[field] = refusals.message(for: field, value: value) }
        return found.merging(ownObjections) { $1 }
    }

    /// What this side finds wrong.
    var ownObjections: [String: String] {
        var found: [String: String] = [:]
        if name.wholeMatch(of: /[A-Za-z0-9][A-Za-z0-9_.-]{0,63}/) == nil {
            found["name"] = "must be 1 to 64 letters, digits and _.-, a letter or a digit first"
        }
        switch source {
        case .job:
            found["job_id"] = JobCheck.objection(toID: jobID)
            found["path"] = pathObjection
        case .model:
            found["model"] = AliasForm.objection(to: model)
            found["alias"] = AliasForm.objection(to: alias)
        }
        return found
    }

    private var pathObjection: String? {
        if path.isEmpty { return "must be a file that the job has left" }
        return path.unicodeScalars.count > 1024 ? "must have 1024 characters at most" : ParameterCheck.text(path)
    }

    var request: RequestedInput {
        source == .job ? RequestedInput(jobID: jobID, path: path) : RequestedInput(model: model, alias: alias)
    }

    /// Shows what the agent refused. What it says of the input as such stands beside the name.
    mutating func refuse(_ field: String, _ message: String) {
        let field = values[field] == nil ? "name" : field
        refusals.add(field, message, value: values[field] ?? "")
    }

    /// The fields that are shown, with what was typed.
    private var values: [String: String] {
        switch source {
        case .job: ["name": name, "job_id": jobID, "path": path]
        case .model: ["name": name, "model": model, "alias": alias]
        }
    }
}

/// A job for which a new one waits.
public struct AfterField: Identifiable, Hashable, Sendable {
    public let id = UUID()
    public var jobID: String
    private var refusals = Refusals()

    public init(jobID: String = "") { self.jobID = jobID }

    public var objection: String? { ownObjection ?? refusals.message(for: "job_id", value: jobID) }

    var ownObjection: String? { JobCheck.objection(toID: jobID) }

    mutating func refuse(_ message: String) { refusals.add("job_id", message, value: jobID) }
}

/// What a new job takes from earlier ones, as it is typed.
public struct EarlierJobs: Hashable, Sendable {
    public var inputs: [InputField] = []
    /// The jobs that must have completed before it starts.
    public var after: [AfterField] = []
    /// What the agent says of `inputs` and `after` as such.
    public private(set) var refused: [String: String] = [:]

    static let mostInputs = 20
    static let mostAfter = 20

    public init() {}

    /// Chooses a job for an input. One that has not ended is waited for.
    public mutating func choose(_ job: Job, for input: InputField.ID) {
        guard let at = inputs.firstIndex(where: { $0.id == input }) else { return }
        (inputs[at].source, inputs[at].jobID, inputs[at].path) = (.job, job.id, "")
        if !job.status.isFinal { wait(for: job) }
    }

    public mutating func wait(for job: Job) {
        if !after.contains(where: { $0.jobID == job.id }) { after.append(AfterField(jobID: job.id)) }
    }

    // MARK: Checking

    /// Everything that is wrong, by field: `inputs.model.path`, `after.0`, …
    var objections: [String: String] {
        var found = refused
        for input in inputs { Self.add(input.objections, of: input, to: &found) }
        for (at, job) in after.enumerated() { found["after.\(at)"] = job.objection }
        return found.merging(ownObjections) { $1 }
    }

    var ownObjections: [String: String] {
        var found: [String: String] = [:]
        for input in inputs { Self.add(input.ownObjections, of: input, to: &found) }
        for (at, job) in after.enumerated() { found["after.\(at)"] = job.ownObjection }
        if let name = Self.twice(inputs.map(\.name)) { found["inputs"] = "\(name) is there twice" }
        if let job = Self.twice(after.map(\.jobID)) { found["after"] = "\(job) is there twice" }
        if inputs.count > Self.mostInputs { found["inputs"] = "must be \(Self.mostInputs) at most" }
        if after.count > Self.mostAfter { found["after"] = "must be \(Self.mostAfter) at most" }
        return found
    }

    private static func add(_ objections: [String: String], of input: InputField, to found: inout [String: String]) {
        for (field, objection) in objections { found["inputs.\(input.name).\(field)"] = objection }
    }

    private static func twice(_ words: [String]) -> String? {
        var seen = Set<String>()
        return words.first { !$0.isEmpty && !seen.insert($0).inserted }
    }

    /// Takes what the agent said of a field. False where it is a field of another part of the form.
    mutating func refuse(_ problem: FieldProblem) -> Bool {
        let parts = problem.field.split(separator: ".", maxSplits: 1).map(String.init)
        guard let list = parts.first, list == "inputs" || list == "after" else { return false }
        let rest = parts.dropFirst().first ?? ""
        // A name may have dots, so the longest one that fits is meant.
        let named = inputs.indices.filter { rest == inputs[$0].name || rest.hasPrefix(inputs[$0].name + ".") }
        if list == "after", let at = Int(rest), after.indices.contains(at) {
            after[at].refuse(problem.message)
        } else if list == "inputs", let at = named.max(by: { inputs[$0].name.count < inputs[$1].name.count }) {
            inputs[at].refuse(String(rest.dropFirst(inputs[at].name.count + 1)), problem.message)
        } else {
            refused[list] = rest.isEmpty ? problem.message : "\(rest) \(problem.message)"
        }
        return true
    }

    /// Forgets what the agent said of no row, before another attempt.
    mutating func clearRefusals() { refused = [:] }

    // MARK: What is sent

    var requestedInputs: [String: RequestedInput]? {
        inputs.isEmpty ? nil : Dictionary(inputs.map { ($0.name, $0.request) }) { _, last in last }
    }

    var requestedAfter: [Job.ID]? { after.isEmpty ? nil : after.map(\.jobID) }
}

enum JobCheck {
    /// What is wrong with the text as a job's id.
    static func objection(toID text: String) -> String? {
        text.wholeMatch(of: /[a-z2-7]{12}/) == nil ? "must be a job's id, such as k3v7q2m5x4ab" : nil
    }
}
