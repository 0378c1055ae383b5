import Charts
import MLJobKit
import SwiftUI

/// The objective over the steps of some trials: those that are selected, or the best and the running ones.
struct CurvesTab: View {
    let curves: TrialCurves
    let sweep: Sweep
    let rows: [TrialRow]
    let selection: Set<TrialRow.ID>
    @State private var isLoaded = false

    var body: some View {
        let trials = TrialCurves.chosen(rows, selected: selection)
        VStack(alignment: .leading, spacing: 8) {
            if curves.curves.isEmpty {
                empty
            } else {
                chart
                Text("Select trials in the table to see theirs. Without a selection: the best ones, and some that run.")
                    .font(.caption)
                    .foregroundStyle(.secondary)
            }
        }
        .padding()
        .frame(maxWidth: .infinity, maxHeight: .infinity)
        .task(id: trials) { await load(trials) }
    }

    private var chart: some View {
        Chart {
            ForEach(curves.curves) { curve in
                ForEach(curve.points, id: \.step) { point in
                    LineMark(
                        x: .value("Step", Double(point.step)), y: .value(sweep.objective.metric, point.value),
                        series: .value("Trial", curve.trial)
                    )
                    .foregroundStyle(by: .value("Trial", "Trial \(curve.trial)"))
                    .accessibilityLabel("Trial \(curve.trial), step \(point.step)")
                    .accessibilityValue(MetricChart.words(point.value))
                }
            }
        }
        .chartXAxisLabel("Step")
        .frame(minHeight: 200, maxHeight: .infinity)
        .accessibilityLabel("Chart of \(sweep.objective.metric)")
    }

    @ViewBuilder private var empty: some View {
        if isLoaded {
            ContentUnavailableView(
                "No curves", systemImage: "chart.xyaxis.line",
                description: Text("None of these trials has reported \(sweep.objective.metric) yet."))
        } else {
            ProgressView("Loading curves")
        }
    }

    /// Once for trials that have ended; now and then while one runs.
    private func load(_ trials: [SweepTrial]) async {
        repeat {
            await curves.load(trials, metric: sweep.objective.metric)
            isLoaded = true
            try? await Task.sleep(for: .seconds(10))
        } while trials.contains(where: { !$0.status.isFinal }) && !Task.isCancelled
    }
}
