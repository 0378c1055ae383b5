import SwiftUI

/// An identifier that is selected, copied or cut short, but never retyped.
struct CopyableText: View {
    let text: String

    init(_ text: String) { self.text = text }

    var body: some View {
        Text(text)
            .monospaced()
            .lineLimit(1)
            .truncationMode(.middle)
            .textSelection(.enabled)
            .help(text)
            .contextMenu { Button("Copy") { Pasteboard.copy(text) } }
    }
}
