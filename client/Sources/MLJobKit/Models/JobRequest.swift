import Foundation

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

    enum CodingKeys: String, CodingKey, CaseIterable {
        case scriptName = "script_name"
        case hyperparameters, ref, name, labels, limits, priority, after
        case maxAttempts = "max_attempts"
        case retryOn = "retry_on"
    }

    public init(
        scriptName: String, hyperparameters: [String: String] = [:], ref: String? = nil, name: String? = nil,
        labels: [String: String]? = nil, limits: Limits? = nil, priority: Int? = nil, maxAttempts: Int? = nil,
        retryOn: [Reason]? = nil, after: [String]? = nil
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
