import MLJobKit
import QuickLook
import SwiftUI

/// What the job has left: looked at with Quick Look, dragged to the Finder, saved.
struct ArtifactsTab: View {
    let detail: JobDetail
    let job: Job
    @State private var model: ArtifactsModel
    @State private var selection = Set<Artifact.ID>()
    @State private var order = [KeyPathComparator(\Artifact.path)]

    init(detail: JobDetail, job: Job) {
        self.detail = detail
        self.job = job
        _model = State(initialValue: ArtifactsModel(detail: detail))
    }

    var body: some View {
        let artifacts = (detail.manifest?.artifacts ?? []).sorted(using: order)
        VStack(spacing: 0) {
            ArtifactsTable(
                artifacts: artifacts, selection: $selection, order: $order, model: model, job: job.id,
                isCompleted: job.status == .completed
            )
            .overlay { if artifacts.isEmpty { ArtifactsEmptyView(detail: detail, job: job) } }
            ArtifactsBar(detail: detail, model: model, chosen: chosen(artifacts))
        }
        .quickLookPreview($model.preview)
        .troubleAlert("The file was not saved", $model.trouble)
        .task { await detail.loadArtifacts() }
    }

    private func chosen(_ artifacts: [Artifact]) -> [Artifact] { artifacts.filter { selection.contains($0.id) } }
}
