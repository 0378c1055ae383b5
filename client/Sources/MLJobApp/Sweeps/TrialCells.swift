import MLJobKit
import SwiftUI

/// A trial's number, with a mark on the best one.
struct TrialNumberCell: View {
    let row: TrialRow

    var body: some View {
        HStack(spacing: 4) {
            Text("\(row.trial.trial)").monospacedDigit()
            if row.isBest {
                Image(systemName: "star.fill")
                    .imageScale(.small)
                    .foregroundStyle(.yellow)
                    .accessibilityLabel("The best")
            }
        }
        .help(row.trial.jobID)
    }
}

/// A trial's state as a symbol and a word.
struct TrialStatusLabel: View {
    let trial: SweepTrial

    var body: some View {
        Label {
            Text(words)
        } icon: {
            Image(systemName: trial.status.symbol)
                .symbolRenderingMode(.hierarchical)
                .foregroundStyle(trial.status.color)
        }
        .help(trial.reason?.explanation ?? trial.status.title)
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(words)
        .accessibilityValue(trial.reason?.explanation ?? "")
    }

    private var words: String { trial.reason == .pruned ? "Pruned" : trial.status.title }
}

/// What the objective had last.
struct TrialValueCell: View {
    let row: TrialRow

    var body: some View {
        if let value = row.trial.value {
            Text(MetricChart.words(value)).monospacedDigit().fontWeight(row.isBest ? .bold : .regular)
        } else {
            Text("–").accessibilityLabel("No value")
        }
    }
}

/// How long a trial has run. A running one counts by itself.
struct TrialDurationCell: View {
    let trial: SweepTrial

    var body: some View {
        Group {
            if let start = trial.startedAt, !trial.status.isFinal {
                Text(start, style: .timer)
            } else if let seconds = trial.duration() {
                Text(DurationCell.words(seconds))
            } else {
                Text("–").accessibilityLabel("Not started")
            }
        }
        .monospacedDigit()
    }
}
