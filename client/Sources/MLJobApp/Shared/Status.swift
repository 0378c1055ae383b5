import MLJobKit
import SwiftUI

extension JobStatus {
    /// As people say it.
    var title: String {
        switch self {
        case .pending: "Waiting"
        case .created: "Starting"
        case .running: "Running"
        case .completed: "Completed"
        case .failed: "Failed"
        case .cancelled: "Cancelled"
        default: rawValue.capitalized
        }
    }

    /// Differs in its shape, not in its colour alone.
    var symbol: String {
        switch self {
        case .pending: "clock"
        case .created: "shippingbox"
        case .running: "play.circle.fill"
        case .completed: "checkmark.circle.fill"
        case .failed: "xmark.octagon.fill"
        case .cancelled: "minus.circle.fill"
        default: "questionmark.circle"
        }
    }

    var color: Color {
        switch self {
        case .running, .created: .blue
        case .completed: .green
        case .failed: .red
        case .cancelled: .orange
        default: .gray
        }
    }
}

extension Reason {
    /// What it means, and what usually helps.
    var explanation: String {
        switch self {
        case .exitCode: "The script ended with an error. Its last lines in the log say which."
        case .signal: "The script was ended by a signal, for instance after a crash in a library."
        case .oomKill: "The script needed more memory than its limit. Run it again with a higher limit."
        case .timeout: "The script ran longer than its limit. Run it again with a longer one."
        case .startFailed: "The container did not start. The system's messages in the log say why."
        case .interrupted: "The host went down while the job ran. Run it again."
        case .cancelled: "The job was cancelled."
        case .stopped: "An operator has stopped the job on the host."
        case .artifactQuota: "The job left more files than it may. Write less, or ask for a higher limit."
        case .artifactMissing: "The script ended well, but left no file that it declares. The message says which."
        case .pruned: "Other trials of the sweep were better at this point, so it was ended early."
        case .dependency: "A job that had to complete first has not. The message says which."
        case .input: "An input is gone, or is not what the record says. The message says which."
        case .storageFull: "The host's disk was full. Tell its operator."
        default: rawValue
        }
    }
}
