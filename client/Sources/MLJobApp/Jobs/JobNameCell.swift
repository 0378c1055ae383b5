import MLJobKit
import SwiftUI

/// What a job is called, with its id and a pin.
struct JobNameCell: View {
    let job: Job

    var body: some View {
        HStack(spacing: 4) {
            Text(job.title)
                .lineLimit(1)
                .truncationMode(.middle)
            Text(job.shortID)
                .font(.caption)
                .foregroundStyle(.secondary)
                .monospaced()
            if job.pinned {
                Image(systemName: "pin.fill")
                    .imageScale(.small)
                    .foregroundStyle(.secondary)
                    .accessibilityLabel("Pinned")
            }
        }
        .help(job.id)
    }
}
