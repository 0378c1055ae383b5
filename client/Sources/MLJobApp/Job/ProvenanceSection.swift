import MLJobKit
import SwiftUI

/// What makes the job one that can be run again: code, image, secrets, network.
struct ProvenanceSection: View {
    let job: Job

    var body: some View {
        Section("Provenance") {
            LabeledContent("Script", value: job.scriptName)
            row("Commit", job.commit)
            row("Script's SHA-256", job.scriptSHA256)
            row("Image", job.image)
            row("Image's digest", job.imageDigest)
            Group {
                row("Network", job.network)
                row("Secrets", job.secrets.joined(separator: ", "))
                row("Must leave", job.artifacts.joined(separator: ", "))
                row("Trial", job.sweep.map { "\(job.trial ?? 0) of sweep \($0)" } ?? "")
            }
            row("Rerun of", job.rerunOf ?? "")
            row("Unit on the host", job.host.map { "\(job.unit) on \($0)" } ?? job.unit)
            row("Container", job.containerID)
        }
    }

    @ViewBuilder private func row(_ title: LocalizedStringKey, _ value: String) -> some View {
        if !value.isEmpty { LabeledContent(title) { CopyableText(value) } }
    }
}
