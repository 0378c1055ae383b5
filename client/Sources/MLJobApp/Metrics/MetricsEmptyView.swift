import MLJobKit
import SwiftUI

/// How a script reports metrics.
struct MetricsEmptyView: View {
    let job: Job
    let ignored: IgnoredMarks?

    var body: some View {
        ContentUnavailableView {
            Label("No metrics", systemImage: "chart.xyaxis.line")
        } description: {
            if let ignored {
                Text(verbatim: ignored.text)
            } else if job.status.isFinal {
                Text("The job has ended without reporting any.")
            } else {
                Text("They appear here as the script prints them, for instance:")
                Text(verbatim: #"print('::metric {"name": "loss", "value": 0.31, "step": 3}', flush=True)"#)
                    .monospaced()
                    .textSelection(.enabled)
            }
        }
    }
}
