import Foundation

/// How far a job said it was.
public struct Progress: Codable, Hashable, Sendable {
    public let done: Double
    public let total: Double
    public let time: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case done, total, time
    }

    public init(done: Double, total: Double, time: Date) {
        self.done = done
        self.total = total
        self.time = time
    }

    /// From 0 to 1.
    public var fraction: Double { total > 0 ? min(max(done / total, 0), 1) : 0 }
}

/// One value of a metric.
public struct MetricPoint: Codable, Hashable, Sendable {
    public let step: Int
    public let value: Double
    public let time: Date

    enum CodingKeys: String, CodingKey, CaseIterable {
        case step, value, time
    }

    public init(step: Int, value: Double, time: Date) {
        self.step = step
        self.value = value
        self.time = time
    }
}

/// Of `count` values every `every`-th, from the first on, and the last one.
public struct MetricSeries: Codable, Hashable, Sendable, Identifiable {
    public var id: String { name }
    public let name: String
    public var count: Int
    public var every: Int
    public var points: [MetricPoint]
    /// Of all values; nil where an earlier agent has not kept it.
    public var min: Double?
    public var max: Double?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, count, every, points, min, max
    }

    public init(
        name: String, count: Int = 0, every: Int = 1, points: [MetricPoint] = [], min: Double? = nil,
        max: Double? = nil
    ) {
        self.name = name
        self.count = count
        self.every = every
        self.points = points
        self.min = min
        self.max = max
    }
}

/// Lines that begin as a mark of progress or metrics and are none: `count` of them. `line` is the number of the first
/// one, and `reason` what is wrong with it.
public struct IgnoredMarks: Codable, Hashable, Sendable {
    public let count: Int
    public let line: Int
    public let reason: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case count, line, reason
    }

    public var text: String {
        count == 1
            ? "A mark in line \(line) was not understood: \(reason)"
            : "\(count) marks were not understood. The first is in line \(line): \(reason)"
    }
}

/// What a job said of its progress and metrics; `complete` once it has ended and its log is whole.
public struct JobMetrics: Codable, Hashable, Sendable {
    public let jobID: String
    public let complete: Bool
    public let progress: Progress?
    public let series: [MetricSeries]
    /// Values of metrics beyond the bound on their names.
    public let refused: Int
    /// Nil where every mark was understood.
    public let ignored: IgnoredMarks?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case complete, progress, series, refused, ignored
    }
}

/// What a job's unit uses now; what the host does not count is absent.
public struct Usage: Codable, Hashable, Sendable {
    public let jobID: String
    public let at: Date
    /// Since the start, of all CPUs together.
    public let cpuSeconds: Double?
    public let memoryBytes: Int?
    public let memoryPeakBytes: Int?
    public let tasks: Int?

    enum CodingKeys: String, CodingKey, CaseIterable {
        case jobID = "job_id"
        case at
        case cpuSeconds = "cpu_seconds"
        case memoryBytes = "memory_bytes"
        case memoryPeakBytes = "memory_peak_bytes"
        case tasks
    }
}
