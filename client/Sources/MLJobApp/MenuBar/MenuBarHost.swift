import MLJobKit
import SwiftUI

/// One host's running jobs in the menu bar.
struct MenuBarHost: View {
    let session: HostSession
    let open: (Job) -> Void

    var body: some View {
        Section {
            let running = session.jobs.running
            if running.isEmpty { Text("Nothing is running").foregroundStyle(.secondary) }
            ForEach(running) { job in
                Button {
                    open(job)
                } label: {
                    MenuBarJob(job: job, list: session.jobs)
                }
                .buttonStyle(.plain)
            }
        } header: {
            HStack {
                Text(session.configuration.name).font(.headline)
                Spacer()
                if session.connection.trouble != nil { ConnectionLabel(state: session.connection).font(.caption) }
            }
        }
    }
}

struct MenuBarJob: View {
    let job: Job
    let list: JobList

    var body: some View {
        VStack(alignment: .leading, spacing: 2) {
            HStack {
                Text(job.title).lineLimit(1).truncationMode(.middle)
                Spacer()
                DurationCell(job: job).font(.caption).foregroundStyle(.secondary)
            }
            ProgressCell(job: job, list: list)
        }
        .contentShape(Rectangle())
        .accessibilityElement(children: .combine)
        .accessibilityHint("Shows the job")
    }
}
