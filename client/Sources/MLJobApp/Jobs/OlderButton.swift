import MLJobKit
import SwiftUI

/// Fetches jobs that ended before those of the list.
struct OlderButton: View {
    let host: HostSession
    @Environment(AppModel.self) private var app

    var body: some View {
        HStack {
            Text("\(host.jobs.jobs.count) jobs").foregroundStyle(.secondary)
            Spacer()
            Button("Load Older Jobs") { Task { await load() } }
                .buttonStyle(.link)
                .disabled(host.jobs.isLoadingOlder || !host.connection.isConnected)
        }
        .font(.caption)
        .padding(.horizontal, 8)
        .padding(.vertical, 4)
    }

    private func load() async {
        do { try await host.jobs.loadOlder() } catch { app.trouble = Trouble(error, host.context) }
    }
}
