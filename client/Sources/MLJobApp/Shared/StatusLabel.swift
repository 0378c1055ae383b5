import MLJobKit
import SwiftUI

/// A job's state as a symbol and a word.
struct StatusLabel: View {
    let job: Job

    var body: some View {
        Label {
            Text(words)
        } icon: {
            Image(systemName: job.status.symbol)
                .symbolRenderingMode(.hierarchical)
                .foregroundStyle(job.status.color)
        }
        .help(explanation)
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(words)
        .accessibilityValue(explanation)
    }

    private var words: String {
        if job.cancelRequested && !job.status.isFinal { return "Cancelling" }
        if let queue = job.queue { return "Waiting, number \(queue.position)" }
        return job.status.title
    }

    private var explanation: String {
        if let queue = job.queue { return "Waits for \(queue.waitsFor)" }
        return job.message ?? job.reason?.explanation ?? job.status.title
    }
}
