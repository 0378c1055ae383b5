import Foundation
import Observation

/// A job's metrics as curves, growing while it runs.
@MainActor @Observable
public final class MetricsModel {
    /// In the order in which the job named them first.
    public private(set) var series: [MetricSeries] = []
    public private(set) var progress: Progress?
    /// Whether the job has ended and nothing more comes.
    public private(set) var isComplete = false
    /// Values of metrics beyond the bound on their names.
    public private(set) var refused = 0
    /// Lines that were meant as marks and are none.
    public private(set) var ignored: IgnoredMarks?

    /// Points of one series, as the agent keeps them.
    public static let most = 501

    public init() {}

    public var isEmpty: Bool { series.isEmpty && progress == nil }

    /// What the agent knows now.
    public func replace(_ metrics: JobMetrics) {
        series = metrics.series
        progress = metrics.progress ?? progress
        isComplete = metrics.complete
        refused = metrics.refused
        ignored = metrics.ignored
    }

    /// A metric's newest value. The stream tells at most one a second, so steps may be missing.
    public func add(_ metric: JobMetric) {
        guard let at = series.firstIndex(where: { $0.name == metric.name }) else {
            return series.append(MetricSeries(name: metric.name, count: 1, points: [metric.point]))
        }
        if let last = series[at].points.last, last.step == metric.step, last.time == metric.time { return }
        series[at].count += 1
        series[at].min = series[at].min.map { min($0, metric.point.value) }
        series[at].max = series[at].max.map { max($0, metric.point.value) }
        series[at].points.append(metric.point)
        if series[at].points.count > Self.most { thin(at) }
    }

    public func add(_ told: JobProgress) { progress = told.progress }

    /// Every other point, from the first on, and the last.
    private func thin(_ at: Int) {
        let points = series[at].points
        let last = points.count - 1
        series[at].points = points.enumerated().filter { $0.offset % 2 == 0 || $0.offset == last }.map(\.element)
        series[at].every *= 2
    }

    /// The point next to a step, for a pointer over the chart.
    public func point(of name: String, nearest step: Double) -> MetricPoint? {
        guard let points = series.first(where: { $0.name == name })?.points else { return nil }
        return points.min { abs(Double($0.step) - step) < abs(Double($1.step) - step) }
    }
}
