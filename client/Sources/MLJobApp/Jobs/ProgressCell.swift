import MLJobKit
import SwiftUI

/// How far a running job said it was.
struct ProgressCell: View {
    let job: Job
    let list: JobList

    var body: some View {
        if let progress = list.progress[job.id], job.status.isRunning {
            ProgressView(value: progress.fraction)
                .progressViewStyle(.linear)
                .controlSize(.small)
                .help(words(progress))
                .accessibilityLabel("Progress")
                .accessibilityValue(words(progress))
        } else if job.status.isRunning {
            ProgressView()
                .progressViewStyle(.linear)
                .controlSize(.small)
                .accessibilityLabel("Running, progress unknown")
        }
    }

    private func words(_ progress: MLJobKit.Progress) -> String {
        let share = progress.fraction.formatted(.percent.precision(.fractionLength(0)))
        return "\(share), \(progress.done.formatted()) of \(progress.total.formatted())"
    }
}
