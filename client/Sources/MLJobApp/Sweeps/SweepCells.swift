import MLJobKit
import SwiftUI

/// A sweep's state as a symbol and a word.
struct SweepStatusLabel: View {
    let sweep: Sweep

    var body: some View {
        Label {
            Text(sweep.status.title)
        } icon: {
            Image(systemName: sweep.status.symbol)
                .symbolRenderingMode(.hierarchical)
                .foregroundStyle(sweep.status.color)
        }
        .help(explanation)
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(sweep.status.title)
        .accessibilityValue(explanation)
    }

    private var explanation: String { sweep.message ?? sweep.reason?.explanation ?? sweep.status.explanation }
}

/// What a sweep is called, with a pin.
struct SweepNameCell: View {
    let sweep: Sweep

    var body: some View {
        HStack(spacing: 4) {
            Text(sweep.title).lineLimit(1).truncationMode(.middle)
            Text(sweep.strategy.rawValue).font(.caption).foregroundStyle(.secondary)
            if sweep.pinned {
                Image(systemName: "pin.fill")
                    .imageScale(.small)
                    .foregroundStyle(.secondary)
                    .accessibilityLabel("Pinned")
            }
        }
        .help(sweep.id)
    }
}

/// How many trials have ended.
struct SweepProgressCell: View {
    let sweep: Sweep

    var body: some View {
        HStack(spacing: 6) {
            ProgressView(value: sweep.progress).progressViewStyle(.linear).controlSize(.small)
            Text("\(sweep.ended)/\(sweep.trials)").font(.caption).monospacedDigit()
        }
        .help(sweep.progressWords)
        .accessibilityElement(children: .ignore)
        .accessibilityLabel("Progress")
        .accessibilityValue(sweep.progressWords)
    }
}

/// The best value so far.
struct SweepBestCell: View {
    let sweep: Sweep

    var body: some View {
        if let best = sweep.best {
            Text("\(sweep.objective.metric) \(MetricChart.words(best.value))")
                .monospacedDigit()
                .lineLimit(1)
                .help(words(of: best))
                .accessibilityHint("Of trial \(best.trial)")
        } else {
            Text("–").accessibilityLabel("No trial has completed yet")
        }
    }

    private func words(of best: BestTrial) -> String {
        let values = best.hyperparameters.sorted { $0.key < $1.key }.map { "\($0.key) = \($0.value)" }
        return (["Trial \(best.trial)"] + values).joined(separator: "\n")
    }
}
