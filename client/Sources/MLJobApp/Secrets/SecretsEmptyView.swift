import MLJobKit
import SwiftUI

struct SecretsEmptyView: View {
    let host: HostSession
    let isLoaded: Bool
    let set: () -> Void

    var body: some View {
        if let trouble = host.secretsTrouble {
            TroubleView(trouble: trouble) { await host.loadSecrets() }
        } else if !isLoaded {
            ProgressView("Loading secrets")
        } else {
            ContentUnavailableView {
                Label("No secrets", systemImage: "key")
            } description: {
                Text("A secret, such as a connection to the warehouse, is given to your jobs and shown to nobody.")
            } actions: {
                Button("Set a Secret…") { set() }
            }
        }
    }
}
