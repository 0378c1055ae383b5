import MLJobKit
import SwiftUI

/// What can be run on the host.
struct ScriptsPane: View {
    let host: HostSession
    @Environment(AppModel.self) private var app
    @State private var selection: Script.ID?
    @State private var search = ""
    @State private var ref = ""

    var body: some View {
        HSplitView {
            List(selection: $selection) {
                ForEach(found) { ScriptRow(script: $0).tag($0.id) }
            }
            .frame(minWidth: 220, idealWidth: 280)
            .overlay { if found.isEmpty { ScriptsEmptyView(host: host, search: search) } }
            detail.frame(minWidth: 320, maxWidth: .infinity, maxHeight: .infinity)
        }
        .searchable(text: $search, prompt: "Script")
        .safeAreaInset(edge: .bottom) { refBar }
        .task { await host.loadScripts() }
    }

    private var found: [Script] { host.scripts.filter { $0.matches(search) } }

    @ViewBuilder private var detail: some View {
        if let script = host.scripts.first(where: { $0.id == selection }) {
            ScriptDetail(script: script) {
                app.compose(script)
            } sweep: {
                app.composeSweep(script)
            } schedule: {
                app.composeSchedule(script)
            }
        } else {
            ContentUnavailableView("Choose a script", systemImage: "doc.text")
        }
    }

    private var refBar: some View {
        HStack {
            TextField("Commit", text: $ref, prompt: Text("Commit, tag or branch"))
                .textFieldStyle(.roundedBorder)
                .frame(maxWidth: 240)
                .onSubmit { Task { await host.loadScripts(ref: ref.isEmpty ? nil : ref) } }
            if let commit = host.scriptsCommit { CopyableText(commit).foregroundStyle(.secondary) }
            Spacer()
        }
        .padding(8)
        .background(.bar)
    }
}
