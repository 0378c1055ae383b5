import MLJobKit
import SwiftUI

/// The list above, the selected job below; several are compared.
struct JobsPane: View {
    let host: HostSession
    @Environment(AppModel.self) private var app
    @Environment(\.openWindow) private var openWindow

    var body: some View {
        @Bindable var app = app
        @Bindable var list = host.jobs
        VSplitView {
            VStack(spacing: 0) {
                JobsTable(list: list, selection: $app.selectedJobs, act: act, open: open)
                if list.hasOlder || list.showsTrials || list.hidesTrials { OlderButton(host: host) }
            }
            .frame(minHeight: 140, idealHeight: 260)
            if app.selectedJobs.count > 1 {
                ComparePane(host: host, jobs: list.inOrderOfCreation(app.selectedJobs))
                    .frame(minHeight: 200, idealHeight: 420)
            } else if let id = app.selectedJob {
                JobPane(host: host, detail: host.detail(of: id))
                    .id(id)
                    .frame(minHeight: 200, idealHeight: 420)
            }
        }
        .searchable(text: $list.search, prompt: "Name, script, label, parameter")
    }

    private func act(_ action: JobAction, _ job: Job) {
        if action == .open { return open(job) }
        Task { await app.act(action, on: job, of: host) }
    }

    private func open(_ job: Job) {
        openWindow(id: WindowID.job, value: JobAddress(host: host.id, job: job.id))
    }
}
