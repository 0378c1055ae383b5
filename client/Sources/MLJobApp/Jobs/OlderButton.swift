import MLJobKit
import SwiftUI

/// Fetches jobs that ended before those of the list, and shows or hides trials of sweeps.
struct OlderButton: View {
    let host: HostSession
    @Environment(AppModel.self) private var app

    var body: some View {
        @Bindable var list = host.jobs
        HStack {
            Text("\(host.jobs.jobs.count) jobs").foregroundStyle(.secondary)
            if host.jobs.showsTrials || host.jobs.hidesTrials {
                Toggle("Show Trials of Sweeps", isOn: $list.showsTrials).toggleStyle(.checkbox)
            }
            Spacer()
            if list.hasOlder {
                Button("Load Older Jobs") { Task { await load() } }
                    .buttonStyle(.link)
                    .disabled(list.isLoadingOlder || !host.connection.isConnected)
            }
        }
        .font(.caption)
        .padding(.horizontal, 8)
        .padding(.vertical, 4)
    }

    private func load() async {
        do { try await host.jobs.loadOlder() } catch { app.trouble = Trouble(error, host.context) }
    }
}
