import Foundation

/// An artifact of an earlier job, by its path in that job's list; or what an alias of a model points at.
public struct RequestedInput: Codable, Hashable, Sendable {
    public var jobID: String?
    public var path: String?
    public var model: String?
    public var alias: String?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case path, model, alias
    }

    public init(jobID: String, path: String) {
        self.jobID = jobID
        self.path = path
    }

    public init(model: String, alias: String) {
        self.model = model
        self.alias = alias
    }

    /// As `ml-job submit --input` takes it behind the name.
    public var text: String {
        if let model, let alias { return "model:\(model)@\(alias)" }
        return "\(jobID ?? ""):\(path ?? "")"
    }
}

/// The body of `POST /jobs`. Members that are absent are the agent's defaults.
public struct JobRequest: Codable, Hashable, Sendable {
    public var scriptName: String
    public var hyperparameters: [String: String]
    public var ref: String?
    public var name: String?
    public var labels: [String: String]?
    public var limits: Limits?
    public var priority: Int?
    public var maxAttempts: Int?
    public var retryOn: [Reason]?
    /// The jobs that must have completed before it starts.
    public var after: [String]?
    /// What it is to see in /inputs, by name.
    public var inputs: [String: RequestedInput]?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case scriptName = "script_name"
        case hyperparameters, ref, name, labels, limits, priority, after, inputs
        case maxAttempts = "max_attempts"
        case retryOn = "retry_on"
    }

    public init(
        scriptName: String, hyperparameters: [String: String] = [:], ref: String? = nil, name: String? = nil,
        labels: [String: String]? = nil, limits: Limits? = nil, priority: Int? = nil, maxAttempts: Int? = nil,
        retryOn: [Reason]? = nil, after: [String]? = nil, inputs: [String: RequestedInput]? = nil
    ) {
        self.scriptName = scriptName
        self.hyperparameters = hyperparameters
        self.ref = ref
        self.name = name
        self.labels = labels
        self.limits = limits
        self.priority = priority
        self.maxAttempts = maxAttempts
        self.retryOn = retryOn
        self.after = after
        self.inputs = inputs
    }
}

/// The body of `POST /jobs/{id}/rerun`: what differs from the job that is run again.
public struct RerunRequest: Codable, Hashable, Sendable {
    public var name: String?
    public var labels: [String: String]?
    public var hyperparameters: [String: String]?
    public var limits: Limits?
    public var maxAttempts: Int?
    public var retryOn: [Reason]?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, labels, hyperparameters, limits
        case maxAttempts = "max_attempts"
        case retryOn = "retry_on"
    }

    public init(
        name: String? = nil, labels: [String: String]? = nil, hyperparameters: [String: String]? = nil,
        limits: Limits? = nil, maxAttempts: Int? = nil, retryOn: [Reason]? = nil
    ) {
        self.name = name
        self.labels = labels
        self.hyperparameters = hyperparameters
        self.limits = limits
        self.maxAttempts = maxAttempts
        self.retryOn = retryOn
    }

    public var isEmpty: Bool { self == RerunRequest() }
}
