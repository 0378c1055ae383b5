import MLJobKit
import SwiftUI

/// A file's name; it can be dragged to the Finder, which fetches it.
struct ArtifactNameCell: View {
    let artifact: Artifact
    let model: ArtifactsModel

    var body: some View {
        HStack(spacing: 6) {
            Image(systemName: Self.symbol(of: artifact.mediaType)).foregroundStyle(.secondary)
            Text(artifact.path).lineLimit(1).truncationMode(.middle)
            if let bytes = model.loaded[artifact.id] {
                ProgressView(value: Double(bytes), total: Double(max(artifact.size, 1)))
                    .progressViewStyle(.linear)
                    .controlSize(.small)
                    .frame(width: 80)
                    .accessibilityLabel("Downloading")
            }
        }
        .contentShape(Rectangle())
        .draggable(ArtifactFile(artifact: artifact, model: model))
        .help(artifact.path)
    }

    static func symbol(of mediaType: String) -> String {
        switch mediaType.split(separator: "/").first {
        case "image": "photo"
        case "text": "doc.text"
        default: mediaType.hasSuffix("json") ? "curlybraces" : "doc"
        }
    }
}

/// What the Finder gets when a file is dropped: the file, once it is here and its SHA-256 is right.
struct ArtifactFile: Transferable {
    let artifact: Artifact
    let model: ArtifactsModel

    static var transferRepresentation: some TransferRepresentation {
        FileRepresentation(exportedContentType: .data) { file in
            SentTransferredFile(try await file.model.cached(file.artifact))
        }
    }
}
