import MLJobKit
import SwiftUI

/// What a job sees in /inputs: the name, where it comes from, and its bytes.
struct InputsRows: View {
    let host: HostSession
    let inputs: [String: JobInput]
    @Environment(AppModel.self) private var app

    var body: some View {
        Section("Inputs") {
            ForEach(inputs.sorted { $0.key < $1.key }, id: \.key) { name, input in
                VStack(alignment: .leading, spacing: 2) {
                    LabeledContent("/inputs/\(name)") { CopyableText(input.path) }
                    HStack {
                        Text(input.words).foregroundStyle(.secondary)
                        Spacer()
                        Button("Show the Job") { app.show(JobAddress(host: host.id, job: input.jobID)) }
                            .buttonStyle(.link)
                    }
                    .font(.caption)
                    if let digest = input.sha256 { LabeledContent("SHA-256") { CopyableText(digest) } }
                }
            }
        }
    }
}

extension JobInput {
    /// `Of job k3v7q2m5x4ab, as churn@champion, 12 MiB`.
    var words: String {
        var parts = ["Of job \(jobID)"]
        if let model, let alias { parts.append("as \(model)@\(alias)") }
        parts.append(size.map(Quantity.format(bytes:)) ?? "not settled until that job has ended")
        return parts.joined(separator: ", ")
    }
}
