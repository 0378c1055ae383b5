import MLJobKit
import SwiftUI

/// A job's name and state, and what can be done to it.
struct JobHeader: View {
    let host: HostSession
    let detail: JobDetail
    let job: Job

    var body: some View {
        HStack(spacing: 12) {
            VStack(alignment: .leading, spacing: 2) {
                Text(job.title).font(.headline).lineLimit(1).truncationMode(.middle)
                Text(job.scriptName).font(.subheadline).foregroundStyle(.secondary)
            }
            .accessibilityElement(children: .combine)
            .accessibilityAddTraits(.isHeader)
            StatusLabel(job: job)
            if job.status.isRunning { HeaderProgress(progress: detail.metrics.progress) }
            Spacer()
            JobButtons(host: host, detail: detail, job: job)
        }
        .padding(.horizontal, 12)
        .padding(.top, 8)
        if let words = outcome {
            Text(words)
                .font(.callout)
                .foregroundStyle(.secondary)
                .textSelection(.enabled)
                .frame(maxWidth: .infinity, alignment: .leading)
                .padding(.horizontal, 12)
        }
    }

    /// Why it waits, or how it ended, where that is not told by its state.
    private var outcome: String? {
        if let queue = job.queue { return "Waits for \(queue.waitsFor)." }
        guard job.status == .failed else { return nil }
        return [job.outcome.map { "\($0)." }, job.reason?.explanation, job.message].compactMap { $0 }
            .joined(separator: " ")
    }
}

/// How far a running job is.
struct HeaderProgress: View {
    let progress: MLJobKit.Progress?

    var body: some View {
        if let progress {
            HStack(spacing: 6) {
                ProgressView(value: progress.fraction).progressViewStyle(.linear).frame(width: 120)
                Text(progress.fraction, format: .percent.precision(.fractionLength(0))).monospacedDigit()
            }
            .accessibilityElement(children: .combine)
            .accessibilityLabel("Progress")
        }
    }
}
