import MLJobKit
import SwiftUI

/// Why there are no files.
struct ArtifactsEmptyView: View {
    let detail: JobDetail
    let job: Job

    var body: some View {
        if let trouble = detail.manifestTrouble {
            TroubleView(trouble: trouble) { await detail.loadArtifacts() }
        } else if detail.manifest == nil {
            ProgressView("Loading files")
        } else {
            ContentUnavailableView(
                "No files", systemImage: "folder",
                description: Text(
                    job.status.isFinal
                        ? "The job has left nothing in /artifacts." : "What the job writes to /artifacts appears here.")
            )
        }
    }
}
