import MLJobKit
import SwiftUI

/// A moment as people say it, with the exact one behind it.
struct DateCell: View {
    let date: Date

    var body: some View {
        Text(date, style: .relative)
            .monospacedDigit()
            .help(date.formatted(date: .complete, time: .standard))
            .accessibilityValue(date.formatted(date: .abbreviated, time: .shortened))
    }
}

/// When a job ended.
struct EndCell: View {
    let job: Job

    var body: some View {
        if let end = job.finishedAt {
            DateCell(date: end)
        } else {
            Text("–").accessibilityLabel("Not ended")
        }
    }
}
