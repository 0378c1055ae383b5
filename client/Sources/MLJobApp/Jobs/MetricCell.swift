import MLJobKit
import SwiftUI

/// The curve of a job's first metric. It is asked for when its row comes into sight.
struct MetricCell: View {
    let job: Job
    let list: JobList

    var body: some View {
        let values = list.sparklines[job.id] ?? []
        Group {
            if values.count > 1 { SparklineView(values: values) } else { Text("").accessibilityHidden(true) }
        }
        .task(id: job.revision) {
            if job.startedAt != nil { await list.loadSparkline(of: job.id) }
        }
    }
}
