import MLJobKit
import SwiftUI

/// What can be done to a job. A view says which; the window's model does it.
enum JobAction: Hashable {
    case open, rerun, cancel, pin, unpin, share, copyID, copyCommand
}

/// The menu of a job's row.
struct JobMenu: View {
    let job: Job
    let act: (JobAction, Job) -> Void

    var body: some View {
        Button("Open in a New Window") { act(.open, job) }
        Divider()
        Button("Run Again…") { act(.rerun, job) }
        Button("Cancel", role: .destructive) { act(.cancel, job) }
            .disabled(job.status.isFinal || job.cancelRequested)
        if job.pinned {
            Button("Unpin") { act(.unpin, job) }
        } else {
            Button("Pin") { act(.pin, job) }
        }
        Button("Share…") { act(.share, job) }
        Divider()
        Button("Copy ID") { act(.copyID, job) }
        Button("Copy as Command") { act(.copyCommand, job) }
    }
}
