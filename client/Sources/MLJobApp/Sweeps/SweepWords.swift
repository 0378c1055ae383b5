import MLJobKit
import SwiftUI

extension SweepStatus {
    /// As people say it.
    var title: String { rawValue.capitalized }

    /// Differs in its shape, not in its colour alone.
    var symbol: String {
        switch self {
        case .running: "play.circle.fill"
        case .paused: "pause.circle.fill"
        case .ending: "stop.circle"
        case .completed: "checkmark.circle.fill"
        case .failed: "xmark.octagon.fill"
        case .cancelled: "minus.circle.fill"
        default: "questionmark.circle"
        }
    }

    var color: Color {
        switch self {
        case .running: .blue
        case .completed: .green
        case .failed: .red
        case .ending, .cancelled: .orange
        default: .gray
        }
    }

    var explanation: String {
        switch self {
        case .running: "It makes trials as there is room."
        case .paused: "It makes no more trials until it is resumed."
        case .ending: "It makes no more trials, and cancels those that have not ended."
        case .completed: "All trials have ended."
        default: title
        }
    }
}

extension SweepReason {
    /// What it means, and what usually helps.
    var explanation: String {
        switch self {
        case .cancelled: "The sweep was cancelled."
        case .metricMissing: "None of the first trials has reported the objective. Look at what the script prints."
        case .trialsFailed: "None of the first trials has completed. The log of the first one says why."
        case .commitRefused: "Its commit was withdrawn, or can no longer be found."
        case .strategyFailed: "The strategy had no suggestion for the next trial."
        default: rawValue
        }
    }
}

extension SweepStrategy {
    /// What a menu says.
    var title: String {
        switch self {
        case .grid: "Grid: all combinations"
        case .random: "Random"
        case .tpe: "TPE: learns from the trials that have ended"
        default: rawValue
        }
    }
}

extension SweepPruner {
    var title: String {
        switch self {
        case .median: "Median: ends what is worse than half of the others"
        case .hyperband: "Hyperband: lets the better third go on"
        default: rawValue
        }
    }
}

extension Direction {
    var title: String { self == .minimize ? "Minimize" : "Maximize" }
}
