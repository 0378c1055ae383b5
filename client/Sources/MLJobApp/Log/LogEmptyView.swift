import MLJobKit
import SwiftUI

/// Why a log has no rows to show.
struct LogEmptyView: View {
    let log: LogModel
    let retry: () -> Void

    var body: some View {
        if let trouble = log.connection.trouble {
            TroubleView(trouble: trouble) { retry() }
        } else if log.filter.onlyMatches {
            ContentUnavailableView.search(text: log.search)
        } else if log.isComplete {
            ContentUnavailableView(
                "Nothing printed", systemImage: "text.alignleft",
                description: Text("The job has ended without a line of output."))
        } else {
            ContentUnavailableView {
                Label("Waiting for output", systemImage: "text.alignleft")
            } description: {
                Text("Lines appear here as the job prints them.")
            }
        }
    }
}
