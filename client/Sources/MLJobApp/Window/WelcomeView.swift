import MLJobKit
import SwiftUI

/// Before the first host.
struct WelcomeView: View {
    @Environment(AppModel.self) private var app

    var body: some View {
        if let trouble = app.hosts.trouble ?? app.hosts.broken.values.first {
            TroubleView(trouble: trouble) { app.connect() }
        } else {
            ContentUnavailableView {
                Label("Connect to a host", systemImage: "server.rack")
            } description: {
                Text("Paste the invitation that your administrator sent, or drop a .p12 file on this window.")
            } actions: {
                Button("Connect…") { app.connect() }
                    .buttonStyle(.borderedProminent)
                    .keyboardShortcut(.defaultAction)
            }
        }
    }
}
