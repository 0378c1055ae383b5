import Foundation

/// A job's limits as they are typed; an empty field is the site's.
public struct LimitsForm: Hashable, Sendable {
    public var memory = ""
    public var cpus = ""
    public var tasks = ""
    public var runTime = ""
    public var grace = ""
    public var artifactBytes = ""
    public var artifactFiles = ""

    public init() {}

    public init(_ limits: Limits) {
        memory = limits.memoryBytes.map(Self.size) ?? ""
        cpus = limits.cpus.map(ParameterCheck.format) ?? ""
        tasks = limits.tasks.map(String.init) ?? ""
        runTime = limits.runTimeSeconds.map(Quantity.format(seconds:)) ?? ""
        grace = limits.graceSeconds.map(Quantity.format(seconds:)) ?? ""
        artifactBytes = limits.artifactBytes.map(Self.size) ?? ""
        artifactFiles = limits.artifactFiles.map(String.init) ?? ""
    }

    /// The unit that loses nothing.
    private static func size(_ bytes: Int) -> String {
        let text = Quantity.format(bytes: bytes)
        return Quantity.bytes(text) == bytes ? text : String(bytes)
    }

    /// What is wrong, by the members of the request: `memory_bytes`, …
    public var objections: [String: String] {
        var found: [String: String] = [:]
        func check<Value: Comparable>(
            _ field: String, _ text: String, _ value: Value?, _ bounds: ClosedRange<Value>, _ message: String
        ) {
            if text.isEmpty { return }
            guard let value, bounds.contains(value) else {
                found[field] = message
                return
            }
        }
        let size = "must be a size from %@ to 1 PiB, such as 2 GiB"
        check("memory_bytes", memory, Quantity.bytes(memory), 16 << 20...1 << 50, size.replacing("%@", with: "16 MiB"))
        check("cpus", cpus, Self.number(cpus), 0.1...4096, "must be a number from 0.1 to 4096")
        check("tasks", tasks, Int(tasks), 1...1_000_000, "must be a whole number from 1 to 1000000")
        check(
            "run_time_seconds", runTime, Quantity.seconds(runTime), 1...2_592_000,
            "must be a time up to 30d, such as 1h30m")
        check("grace_seconds", grace, Quantity.seconds(grace), 1...86_400, "must be a time up to 1d, such as 2m")
        check(
            "artifact_bytes", artifactBytes, Quantity.bytes(artifactBytes), 1 << 20...1 << 50,
            size.replacing("%@", with: "1 MiB"))
        check(
            "artifact_files", artifactFiles, Int(artifactFiles), 1...1_000_000,
            "must be a whole number from 1 to 1000000")
        return found
    }

    private static func number(_ text: String) -> Double? { Double(text).flatMap { $0.isFinite ? $0 : nil } }

    /// What was typed. Fields with objections are left out.
    public var limits: Limits {
        Limits(
            memoryBytes: Quantity.bytes(memory), cpus: Self.number(cpus), tasks: Int(tasks),
            runTimeSeconds: Quantity.seconds(runTime), graceSeconds: Quantity.seconds(grace),
            artifactBytes: Quantity.bytes(artifactBytes), artifactFiles: Int(artifactFiles))
    }
}
