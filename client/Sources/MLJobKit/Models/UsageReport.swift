import Foundation

/// What the rows of a report are about.
public struct UsageKey: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let user = UsageKey(rawValue: "user")
    public static let script = UsageKey(rawValue: "script")
    public static let label = UsageKey(rawValue: "label")
}

/// What one user, script or label has used of the host in a month. A figure is nil where it is not known.
public struct UsageRow: Codable, Hashable, Sendable {
    public let month: String
    public let user: String?
    public let scriptName: String?
    public let label: String?
    public let jobs: Int
    public let attempts: Int
    public let measuredAttempts: Int
    public let seconds: Double
    public let cpuSeconds: Double?
    public let memoryGiBHours: Double?
    public let memoryPeakGiBHours: Double?
    public let memoryPeakBytes: Int?
    public let artifactBytes: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case month, user, label, jobs, attempts, seconds
        case scriptName = "script_name"
        case measuredAttempts = "measured_attempts"
        case cpuSeconds = "cpu_seconds"
        case memoryGiBHours = "memory_gib_hours"
        case memoryPeakGiBHours = "memory_peak_gib_hours"
        case memoryPeakBytes = "memory_peak_bytes"
        case artifactBytes = "artifact_bytes"
    }
}

/// What users have used, month by month: from the day `since` up to the day before `until`.
public struct UsageReport: Codable, Hashable, Sendable {
    public let by: UsageKey
    public let since: String
    public let until: String
    public let rows: [UsageRow]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case by, since, until, rows
    }
}
