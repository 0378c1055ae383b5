import MLJobKit
import SwiftUI

/// The hosts that the app knows: their names, and how to forget one.
struct HostsSettings: View {
    @Environment(AppModel.self) private var app
    @State private var forgotten: HostConfiguration?

    var body: some View {
        Form {
            Section {
                ForEach(app.hosts.names) { host in
                    HostSettingsRow(host: host) { forgotten = host }
                }
                if app.hosts.isEmpty { Text("None yet").foregroundStyle(.secondary) }
            }
            Button("Connect to a Host…") { app.connect() }
        }
        .formStyle(.grouped)
        .confirmationDialog(
            "Forget this host?", isPresented: isAsking, titleVisibility: .visible, presenting: forgotten
        ) { host in
            Button("Forget \(host.name)", role: .destructive) { app.attempt { try app.hosts.remove(host.id) } }
        } message: { _ in
            Text("Its key is removed from your keychain. To connect again you need a new invitation.")
        }
    }

    private var isAsking: Binding<Bool> {
        Binding(get: { forgotten != nil }, set: { if !$0 { forgotten = nil } })
    }
}
