import MLJobKit
import SwiftUI

/// Why no script is shown.
struct ScriptsEmptyView: View {
    let host: HostSession
    let search: String

    var body: some View {
        if let trouble = host.scriptsTrouble {
            TroubleView(trouble: trouble) { await host.loadScripts() }
        } else if !search.isEmpty {
            ContentUnavailableView.search(text: search)
        } else if host.scriptsCommit == nil {
            ProgressView("Loading scripts")
        } else {
            ContentUnavailableView(
                "No scripts", systemImage: "doc.text",
                description: Text("The host's repository has none at this commit."))
        }
    }
}
