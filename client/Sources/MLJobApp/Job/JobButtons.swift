import MLJobKit
import SwiftUI

/// Run again, pin, cancel.
struct JobButtons: View {
    let host: HostSession
    let detail: JobDetail
    let job: Job
    @Environment(AppModel.self) private var app
    @State private var asksToCancel = false

    var body: some View {
        HStack(spacing: 8) {
            Button("Run Again…") { act(.rerun) }
            Button(job.pinned ? "Unpin" : "Pin") { act(job.pinned ? .unpin : .pin) }
                .help("A pinned job keeps its files and its log.")
            if !job.status.isFinal {
                Button("Cancel", role: .destructive) { asksToCancel = true }
                    .disabled(job.cancelRequested)
            }
        }
        .disabled(detail.isActing)
        .confirmationDialog("Cancel this job?", isPresented: $asksToCancel, titleVisibility: .visible) {
            Button("Cancel Job", role: .destructive) { act(.cancel) }
            Button("Keep Running", role: .cancel) {}
        } message: {
            Text("It is asked to stop, and ended after its grace period. What it has written so far is kept.")
        }
    }

    private func act(_ action: JobAction) { Task { await app.act(action, on: job, of: host) } }
}
