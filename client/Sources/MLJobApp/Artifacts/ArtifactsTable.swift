import MLJobKit
import SwiftUI

/// The files, by name, size or kind.
struct ArtifactsTable: View {
    let artifacts: [Artifact]
    @Binding var selection: Set<Artifact.ID>
    @Binding var order: [KeyPathComparator<Artifact>]
    let model: ArtifactsModel
    let job: Job.ID
    /// Only what a completed job has left can be a model.
    let isCompleted: Bool
    @Environment(AppModel.self) private var app

    var body: some View {
        Table(artifacts, selection: $selection, sortOrder: $order) {
            TableColumn("Name", value: \.path) { ArtifactNameCell(artifact: $0, model: model) }
                .width(min: 160, ideal: 320)
            TableColumn("Size", value: \.size) { Text(Quantity.format(bytes: $0.size)).monospacedDigit() }
                .width(min: 60, ideal: 90)
            TableColumn("Kind", value: \.mediaType)
                .width(min: 80, ideal: 160)
            TableColumn("SHA-256") { CopyableText($0.sha256) }
                .width(min: 80, ideal: 140)
        }
        .tableStyle(.inset)
        .contextMenu(forSelectionType: Artifact.ID.self) { ids in
            if let one = artifacts.first(where: { ids.contains($0.id) }) {
                Button("Quick Look") { Task { await model.show(one) } }
                Button("Copy Path") { Pasteboard.copy(one.path) }
                if isCompleted {
                    Divider()
                    Button("Use as Model…") { app.sheet = .alias(AliasTarget(jobID: job, path: one.path)) }
                }
            }
        } primaryAction: { ids in
            if let one = artifacts.first(where: { ids.contains($0.id) }) { Task { await model.show(one) } }
        }
        .accessibilityLabel("Files")
    }
}
