import MLJobKit
import SwiftUI

/// The jobs that have to complete before this one starts.
struct AfterRows: View {
    let host: HostSession
    let job: Job
    @Environment(AppModel.self) private var app

    var body: some View {
        Section("After") {
            if let queue = job.queue { Text("Waits for \(queue.waitsFor).").foregroundStyle(.secondary) }
            ForEach(job.after, id: \.self) { id in
                LabeledContent {
                    HStack {
                        if let known = host.jobs.jobs[id] { StatusLabel(job: known) }
                        Button("Show the Job") { app.show(JobAddress(host: host.id, job: id)) }.buttonStyle(.link)
                    }
                } label: {
                    Text(host.jobs.jobs[id]?.title ?? "Job")
                    CopyableText(id)
                }
            }
        }
    }
}
