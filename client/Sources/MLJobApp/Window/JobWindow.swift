import MLJobKit
import SwiftUI

/// A job in a window of its own.
struct JobWindow: View {
    let address: JobAddress?
    @Environment(AppModel.self) private var app

    var body: some View {
        if let address, let host = app.hosts.sessions.first(where: { $0.id == address.host }) {
            JobPane(host: host, detail: host.detail(of: address.job))
                .navigationTitle(host.jobs.jobs[address.job]?.title ?? address.job)
                .navigationSubtitle(host.configuration.name)
        } else {
            ContentUnavailableView(
                "This job's host is not connected", systemImage: "server.rack",
                description: Text("Connect to the host again, then open the job from its list."))
        }
    }
}
