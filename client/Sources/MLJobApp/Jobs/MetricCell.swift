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
        .task(id: job.revision) { await load() }
    }

    /// Once for a job that has ended; now and then for one that runs.
    private func load() async {
        guard job.startedAt != nil, job.status.isRunning || list.sparklines[job.id] == nil else { return }
        repeat {
            await list.loadSparkline(of: job.id)
            try? await Task.sleep(for: .seconds(15))
        } while job.status.isRunning && !Task.isCancelled
    }
}
