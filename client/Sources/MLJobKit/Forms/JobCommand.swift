import Foundation

/// The `ml-job` command that does the same.
public enum JobCommand {
    public static func submit(_ request: JobRequest) -> String {
        var words = ["ml-job", "submit", request.scriptName]
        words += parameters(request.hyperparameters)
        if let ref = request.ref { words += ["--ref", ref] }
        words += names(request.name, request.labels)
        words += options(request.limits)
        if let priority = request.priority { words += ["--priority", String(priority)] }
        words += retries(request.maxAttempts, request.retryOn)
        for (name, input) in (request.inputs ?? [:]).sorted(by: { $0.key < $1.key }) {
            words += ["--input", "\(name)=\(input.text)"]
        }
        words += (request.after ?? []).flatMap { ["--after", $0] }
        return words.map(quote).joined(separator: " ")
    }

    public static func rerun(_ job: Job.ID, _ request: RerunRequest) -> String {
        var words = ["ml-job", "rerun", job] + parameters(request.hyperparameters ?? [:])
        words += names(request.name, request.labels)
        words += options(request.limits)
        return (words + retries(request.maxAttempts, request.retryOn)).map(quote).joined(separator: " ")
    }

    private static func names(_ name: String?, _ labels: [String: String]?) -> [String] {
        (name.map { ["--name", $0] } ?? [])
            + (labels ?? [:]).sorted { $0.key < $1.key }.flatMap { ["--label", "\($0.key)=\($0.value)"] }
    }

    private static func parameters(_ values: [String: String]) -> [String] {
        values.sorted { $0.key < $1.key }.flatMap { ["-p", "\($0.key)=\($0.value)"] }
    }

    /// The command has no options for tasks and artifacts.
    private static func options(_ limits: Limits?) -> [String] {
        guard let limits else { return [] }
        var words: [String] = []
        if let bytes = limits.memoryBytes { words += ["--memory", String(bytes)] }
        if let cpus = limits.cpus { words += ["--cpus", ParameterCheck.format(cpus)] }
        if let seconds = limits.runTimeSeconds { words += ["--time", Quantity.format(seconds: seconds)] }
        if let seconds = limits.graceSeconds { words += ["--grace", Quantity.format(seconds: seconds)] }
        return words
    }

    private static func retries(_ attempts: Int?, _ reasons: [Reason]?) -> [String] {
        (attempts.map { ["--max-attempts", String($0)] } ?? [])
            + (reasons ?? []).flatMap { ["--retry-on", $0.rawValue] }
    }

    /// For a POSIX shell.
    static func quote(_ word: String) -> String {
        if word.wholeMatch(of: /[A-Za-z0-9_@%+=:,.\/-]+/) != nil { return word }
        return "'" + word.replacing("'", with: "'\\''") + "'"
    }
}

extension Job {
    /// The command that submits the same job.
    public var command: String {
        JobCommand.submit(
            JobRequest(
                scriptName: scriptName, hyperparameters: hyperparameters, ref: commit.isEmpty ? nil : commit,
                name: name,
                labels: labels.isEmpty ? nil : labels, limits: limits,
                maxAttempts: maxAttempts == 1 ? nil : maxAttempts,
                retryOn: Set(retryOn) == Set(Reason.retriedByDefault) ? nil : retryOn,
                after: status.isFinal || after.isEmpty ? nil : after,
                inputs: inputs.isEmpty
                    ? nil : inputs.mapValues { RequestedInput(jobID: $0.jobID, path: $0.path) }))
    }
}
