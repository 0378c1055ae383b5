import MLJobKit
import SwiftUI

/// The secrets that one's jobs can get. No value is ever shown: the host does not give any back.
struct SecretsPane: View {
    let host: HostSession
    @Environment(AppModel.self) private var app
    @State private var selection: SecretEntry.ID?
    @State private var isLoaded = false
    @State private var isSetting = false
    @State private var removed: SecretEntry?

    var body: some View {
        Table(host.secrets, selection: $selection) {
            TableColumn("Name") { Text($0.name).monospaced() }
            TableColumn("For") { one in
                HStack {
                    Text(one.user == nil ? "everybody's jobs" : "your jobs")
                    if let hosts = one.missingOn {
                        Text("not on \(hosts.joined(separator: ", "))").foregroundStyle(.secondary)
                    }
                }
            }
            TableColumn("Set") { DateCell(date: $0.updatedAt) }
        }
        .overlay {
            if host.secrets.isEmpty { SecretsEmptyView(host: host, isLoaded: isLoaded) { isSetting = true } }
        }
        .contextMenu(forSelectionType: SecretEntry.ID.self) { ids in
            if let one = host.secrets.first(where: { ids.contains($0.id) }), one.user != nil {
                Button("Remove…", role: .destructive) { removed = one }
            }
        }
        .safeAreaInset(edge: .bottom) {
            HStack {
                Button("Set a Secret…") { isSetting = true }
                Spacer()
            }
            .padding(8)
            .background(.bar)
        }
        .sheet(isPresented: $isSetting) { SetSecretSheet(host: host) }
        .removalDialog($removed) { secret in
            do { try await host.removeSecret(secret.name) } catch { app.trouble = Trouble(error, host.context) }
        }
        .task {
            await host.loadSecrets()
            isLoaded = true
        }
    }
}

extension View {
    /// Asks before a secret is removed.
    fileprivate func removalDialog(
        _ secret: Binding<SecretEntry?>, remove: @escaping @MainActor (SecretEntry) async -> Void
    ) -> some View {
        let isPresented = Binding(get: { secret.wrappedValue != nil }, set: { if !$0 { secret.wrappedValue = nil } })
        return confirmationDialog(
            "Remove this secret?", isPresented: isPresented, titleVisibility: .visible, presenting: secret.wrappedValue
        ) { secret in
            Button("Remove \(secret.name)", role: .destructive) { Task { await remove(secret) } }
        } message: { _ in
            Text("Jobs that run keep what they began with. Later ones do not get it.")
        }
    }
}
