import MLJobKit
import SwiftUI

/// What an alias points at, and its history. To go back is to point it at what it pointed at before.
struct AliasDetail: View {
    let host: HostSession
    let model: NamedModel
    let address: ModelList.AliasAddress
    @Environment(AppModel.self) private var app
    @State private var selection: ModelAlias.ID?
    @State private var earlier: ModelAlias?

    var body: some View {
        VStack(alignment: .leading, spacing: 0) {
            heading
            Table(moves, selection: $selection) {
                TableColumn("Move") { Text("\($0.number)").monospacedDigit() }
                TableColumn("File") { CopyableText($0.path) }
                TableColumn("Job") { CopyableText($0.jobID) }
                TableColumn("SHA-256") { CopyableText($0.sha256) }
                TableColumn("By") { Text($0.movedBy) }
                TableColumn("When") { DateCell(date: $0.movedAt) }
            }
            .contextMenu(forSelectionType: ModelAlias.ID.self) { ids in
                if let move = moves.first(where: { ids.contains($0.id) }) {
                    Button("Go Back to This…") { earlier = move }
                        .disabled(move.version == current?.version)
                    Button("Show the Job") { app.show(JobAddress(host: host.id, job: move.jobID)) }
                }
            }
            .accessibilityLabel("History")
        }
        .task(id: current?.version) { await host.models.loadHistory(of: address) }
        .goBackDialog($earlier, alias: address.alias) { await goBack(to: $0) }
    }

    private var current: ModelAlias? { host.models.alias(at: address) }
    private var moves: [ModelAlias] { host.models.histories[address] ?? [] }

    private var heading: some View {
        VStack(alignment: .leading, spacing: 4) {
            Text("\(model.model) \(address.alias)").font(.title3).bold()
            HStack {
                Text(readers).foregroundStyle(.secondary)
                Button("Share…") { app.sheet = .share(.model(model.id)) }.buttonStyle(.link)
            }
            if let current { CopyableText(current.sha256) }
        }
        .padding()
        .accessibilityElement(children: .combine)
        .accessibilityAddTraits(.isHeader)
    }

    private var readers: String {
        model.readers.words.map { "Of \(model.owner), also for \($0)" } ?? "Of \(model.owner), who alone may read it"
    }

    private func goBack(to move: ModelAlias) async {
        do {
            try await host.models.move(address, to: AliasTarget(jobID: move.jobID, path: move.path))
        } catch {
            app.trouble = Trouble(error, host.context)
        }
    }
}

extension View {
    /// Asks before an alias is moved: whoever asks for it gets another file from then on.
    fileprivate func goBackDialog(
        _ move: Binding<ModelAlias?>, alias: String, goBack: @escaping @MainActor (ModelAlias) async -> Void
    ) -> some View {
        let isPresented = Binding(get: { move.wrappedValue != nil }, set: { if !$0 { move.wrappedValue = nil } })
        return confirmationDialog(
            "Point \(alias) at this file again?", isPresented: isPresented, titleVisibility: .visible,
            presenting: move.wrappedValue
        ) { move in
            Button("Go Back to Move \(move.number)") { Task { await goBack(move) } }
        } message: { move in
            Text("Everybody who asks for it gets \(move.path) of job \(move.jobID) from then on.")
        }
    }
}
