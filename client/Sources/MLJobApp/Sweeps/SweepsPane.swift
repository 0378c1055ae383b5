import MLJobKit
import SwiftUI

/// The sweeps above, the selected one below.
struct SweepsPane: View {
    let host: HostSession
    @Environment(AppModel.self) private var app

    var body: some View {
        @Bindable var app = app
        @Bindable var list = host.sweeps
        VSplitView {
            VStack(spacing: 0) {
                SweepsTable(host: host, list: list, selection: $app.selectedSweep)
                if list.hasOlder { OlderSweepsButton(host: host) }
            }
            .frame(minHeight: 120, idealHeight: 200)
            if let id = app.selectedSweep {
                SweepPane(host: host, detail: host.detail(ofSweep: id))
                    .id(id)
                    .frame(minHeight: 240, idealHeight: 460)
            }
        }
        .searchable(text: $list.search, prompt: "Name, script, metric, label")
    }
}

/// Fetches sweeps that are older than those of the list.
struct OlderSweepsButton: View {
    let host: HostSession
    @Environment(AppModel.self) private var app

    var body: some View {
        HStack {
            Text("\(host.sweeps.sweeps.count) sweeps").foregroundStyle(.secondary)
            Spacer()
            Button("Load Older Sweeps") { Task { await load() } }
                .buttonStyle(.link)
                .disabled(host.sweeps.isLoadingOlder || !host.connection.isConnected)
        }
        .font(.caption)
        .padding(.horizontal, 8)
        .padding(.vertical, 4)
    }

    private func load() async {
        do { try await host.sweeps.loadOlder() } catch { app.trouble = Trouble(error, host.context) }
    }
}
