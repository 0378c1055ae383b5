import Foundation
import Observation

/// The objective's curves of some trials of a sweep.
@MainActor @Observable
public final class TrialCurves {
    /// One trial's curve.
    public struct Curve: Identifiable, Hashable, Sendable {
        public var id: Job.ID { jobID }
        public let jobID: Job.ID
        public let trial: Int
        public let points: [MetricPoint]
    }

    /// How many curves a person can tell apart.
    public static let most = 12

    /// In the order of the trials' numbers.
    public private(set) var curves: [Curve] = []
    @ObservationIgnored private let agent: Agent
    /// Of trials that have ended: their curves do not change any more.
    @ObservationIgnored private var whole: [Job.ID: Curve] = [:]

    public init(agent: Agent) { self.agent = agent }

    /// Which trials to draw: those that are selected, or the best ones, and then those that run.
    public static func chosen(_ rows: [TrialRow], selected: Set<TrialRow.ID>) -> [SweepTrial] {
        var chosen = rows.filter { selected.contains($0.id) }
        if chosen.isEmpty {
            let running = rows.filter { $0.trial.status.isRunning }.prefix(4)
            let ranked = rows.filter { $0.rank != nil }.sorted { ($0.rank ?? 0) < ($1.rank ?? 0) }
            chosen = Array(ranked.prefix(most - running.count))
            chosen.append(contentsOf: running)
        }
        return chosen.prefix(most).map(\.trial).sorted { $0.trial < $1.trial }
    }

    /// Asks for the curves of these trials, one after the other, and shows each as it comes. A trial whose metrics are
    /// not to be had is left out.
    public func load(_ trials: [SweepTrial], metric: String) async {
        let asked = Set(trials.map(\.jobID))
        curves.removeAll { !asked.contains($0.id) }
        for trial in trials where trial.startedAt != nil {
            if let known = whole[trial.jobID] {
                show(known)
            } else if let metrics = try? await agent.metrics(trial.jobID) {
                guard !Task.isCancelled else { return }
                let points = metrics.series.first { $0.name == metric }?.points ?? []
                let curve = Curve(jobID: trial.jobID, trial: trial.trial, points: points)
                if metrics.complete { whole[trial.jobID] = curve }
                show(curve)
            }
        }
    }

    private func show(_ curve: Curve) {
        curves.removeAll { $0.id == curve.id }
        guard !curve.points.isEmpty else { return }
        curves.insert(curve, at: curves.partitioningIndex { $0.trial > curve.trial })
    }
}
