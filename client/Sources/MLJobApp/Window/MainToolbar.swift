import MLJobKit
import SwiftUI

struct MainToolbar: ToolbarContent {
    let app: AppModel

    var body: some ToolbarContent {
        ToolbarItem(placement: .primaryAction) { NewJobButton(app: app) }
        ToolbarItem(placement: .status) { HostStatus(app: app) }
    }
}

struct NewJobButton: View {
    let app: AppModel

    var body: some View {
        Button {
            app.compose()
        } label: {
            Label("New Job", systemImage: "plus")
        }
        .help("Start a job (⌘N)")
        .disabled(app.host == nil)
    }
}

/// How it stands with the host, all the time.
struct HostStatus: View {
    let app: AppModel

    var body: some View {
        if let host = app.host { ConnectionLabel(state: host.connection).font(.caption) }
    }
}
