import MLJobKit
import SwiftUI

/// Quick Look and saving, and what was left aside.
struct ArtifactsBar: View {
    let detail: JobDetail
    let model: ArtifactsModel
    let chosen: [Artifact]

    var body: some View {
        HStack(spacing: 8) {
            Text(summary).foregroundStyle(.secondary)
            if let manifest = detail.manifest, manifest.leftOutCount > 0 {
                Label("\(manifest.leftOutCount) not published", systemImage: "exclamationmark.triangle")
                    .help(manifest.remarks.joined(separator: "\n"))
            }
            Spacer()
            Button("Quick Look") { if let one = chosen.first { Task { await model.show(one) } } }
                .keyboardShortcut("y")
                .disabled(chosen.isEmpty)
            Button(chosen.isEmpty ? "Save All…" : "Save…") { Task { await save() } }
                .keyboardShortcut("s")
                .disabled(model.isBusy || all.isEmpty)
        }
        .font(.callout)
        .padding(8)
        .background(.bar)
    }

    private var all: [Artifact] { detail.manifest?.artifacts ?? [] }

    private var summary: String {
        let bytes = Quantity.format(bytes: all.reduce(0) { $0 + $1.size })
        let more = detail.manifest?.complete == false ? ", so far" : ""
        return "\(all.count) files, \(bytes)\(more)"
    }

    private func save() async {
        guard let folder = await SavePanel.folder(message: "Each file is checked before it appears.") else { return }
        await model.save(chosen.isEmpty ? all : chosen, into: folder)
    }
}
