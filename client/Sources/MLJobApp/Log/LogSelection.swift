import Foundation
import MLJobKit
import Observation

/// The rows that are selected in a log's table, for the buttons beside it.
@MainActor @Observable
final class LogSelection {
    var rows = IndexSet()

    /// The selected rows' texts, or all.
    func text(of log: LogModel) -> String {
        rows.isEmpty ? log.text(of: 0..<log.count) : log.text(of: rows)
    }
}
