import MLJobKit
import SwiftUI

/// Which host the window shows, and how it stands with it.
struct HostMenu: View {
    @Environment(AppModel.self) private var app

    var body: some View {
        Menu {
            ForEach(app.hosts.sessions) { session in
                Button(title(of: session)) { app.select(session.id) }
            }
            ForEach(app.hosts.names.filter { app.hosts.broken[$0.id] != nil }) { host in
                Button("\(host.name) – cannot be opened") { app.trouble = app.hosts.broken[host.id] }
            }
            Divider()
            Button("Connect to a Host…") { app.connect() }
        } label: {
            Label(app.host?.configuration.name ?? "No host", systemImage: "server.rack")
                .lineLimit(1)
        }
        .padding(8)
        .accessibilityLabel("Host")
        .accessibilityValue(app.host?.configuration.name ?? "None")
    }

    private func title(of session: HostSession) -> String {
        session.connection.trouble == nil
            ? session.configuration.name : "\(session.configuration.name) – not connected"
    }
}
