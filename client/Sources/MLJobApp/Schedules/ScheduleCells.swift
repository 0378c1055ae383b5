import MLJobKit
import SwiftUI

extension ScheduleStatus {
    /// As people say it.
    var title: String { rawValue.capitalized }

    /// Differs in its shape, not in its colour alone.
    var symbol: String {
        switch self {
        case .active: "clock.badge.checkmark"
        case .paused: "pause.circle.fill"
        case .suspended: "exclamationmark.octagon.fill"
        default: "questionmark.circle"
        }
    }

    var color: Color {
        switch self {
        case .active: .green
        case .suspended: .red
        default: .gray
        }
    }
}

extension ScheduleReason {
    /// What it means, and what helps.
    var explanation: String {
        switch self {
        case .ownerRevoked: "Its owner's certificate was revoked. Resume it when they have another one."
        case .commitRefused: "Its commit may not run any more, or its ref is gone. Resume it when that is mended."
        default: rawValue
        }
    }
}

extension ScheduleOverlap {
    var title: String {
        switch self {
        case .skip: "Skip the time"
        case .queue: "Wait for the earlier run"
        case .replace: "Cancel the earlier run"
        default: rawValue
        }
    }
}

extension ScheduleRun {
    /// `Submitted`, `Skipped: an earlier run had not ended`.
    var words: String {
        let why: String? =
            switch reason {
            case .overlap?: "an earlier run had not ended"
            case .replaced?: "a later time came while it waited"
            case .refused?: "the submission was refused"
            case .paused?: "the schedule was paused"
            case let reason?: reason.rawValue
            case nil: nil
            }
        return why.map { "\(status.rawValue.capitalized): \($0)" } ?? status.rawValue.capitalized
    }
}

struct ScheduleStatusLabel: View {
    let schedule: Schedule

    var body: some View {
        Label {
            Text(schedule.status.title)
        } icon: {
            Image(systemName: schedule.status.symbol)
                .symbolRenderingMode(.hierarchical)
                .foregroundStyle(schedule.status.color)
        }
        .help(explanation)
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(schedule.status.title)
        .accessibilityValue(explanation)
    }

    private var explanation: String { schedule.message ?? schedule.reason?.explanation ?? schedule.status.title }
}

/// When a schedule is due next.
struct NextCell: View {
    let schedule: Schedule

    var body: some View {
        if let next = schedule.next.first {
            DateCell(date: next)
        } else {
            Text("–").accessibilityLabel("Not due")
        }
    }
}

/// What became of the last time.
struct LastRunCell: View {
    let run: ScheduleRun?

    var body: some View {
        if let run {
            Text(run.words).lineLimit(1).help(run.message ?? run.words)
        } else {
            Text("–").accessibilityLabel("No run yet")
        }
    }
}
