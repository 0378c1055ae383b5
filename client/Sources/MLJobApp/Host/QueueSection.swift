import MLJobKit
import SwiftUI

/// Who runs and waits.
struct QueueSection: View {
    let info: HostInfo

    var body: some View {
        Section("Queue") {
            LabeledContent("Running", value: info.running, format: .number)
            LabeledContent("Waiting", value: info.waiting, format: .number)
            ForEach(info.users) { user in
                LabeledContent(user.user) {
                    Text("\(user.running) running, \(user.waiting) waiting").monospacedDigit()
                }
                .help("Had \(DurationCell.words(user.recentUseSeconds)) of the whole host of late")
            }
        }
    }
}
