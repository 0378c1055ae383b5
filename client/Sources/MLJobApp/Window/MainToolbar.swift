import MLJobKit
import SwiftUI

struct MainToolbar: ToolbarContent {
    let app: AppModel

    var body: some ToolbarContent {
        ToolbarItem(placement: .primaryAction) {
            Button {
                app.compose()
            } label: {
                Label("New Job", systemImage: "plus")
            }
            .help("Start a job (⌘N)")
            .disabled(app.host == nil)
        }
        ToolbarItem(placement: .status) {
            if let host = app.host { ConnectionLabel(state: host.connection).font(.caption) }
        }
    }
}
