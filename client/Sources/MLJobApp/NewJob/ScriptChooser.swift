import MLJobKit
import SwiftUI

/// Which script to run.
struct ScriptChooser: View {
    let host: HostSession
    let choose: (Script) -> Void
    @Environment(\.dismiss) private var dismiss
    @State private var selection: Script.ID?
    @State private var search = ""

    var body: some View {
        VStack(spacing: 0) {
            TextField("Search", text: $search, prompt: Text("Search scripts"))
                .textFieldStyle(.roundedBorder)
                .padding(12)
            List(selection: $selection) {
                ForEach(found) { ScriptRow(script: $0).tag($0.id) }
            }
            .overlay { if found.isEmpty { ScriptsEmptyView(host: host, search: search) } }
            .contextMenu(forSelectionType: Script.ID.self) { _ in
                EmptyView()
            } primaryAction: { ids in
                take(ids.first)
            }
        }
        .frame(width: 520, height: 420)
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button("Choose") { take(selection) }.disabled(selection == nil)
            }
        }
        .task { await host.loadScripts() }
    }

    private var found: [Script] { host.scripts.filter { $0.matches(search) } }

    private func take(_ id: Script.ID?) {
        if let script = host.scripts.first(where: { $0.id == id }) { choose(script) }
    }
}

extension Script {
    func matches(_ search: String) -> Bool {
        search.isEmpty || name.localizedCaseInsensitiveContains(search)
            || description.localizedCaseInsensitiveContains(search)
    }
}
