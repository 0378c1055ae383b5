import MLJobKit
import SwiftUI

/// What a rerun changes, as a difference.
struct ChangesSection: View {
    let form: ScriptForm

    var body: some View {
        Section("Changes") {
            if form.changes.isEmpty {
                Text("None: the same job again, at the same commit and image.").foregroundStyle(.secondary)
            }
            ForEach(form.changes) { change in
                LabeledContent(change.field) {
                    HStack(spacing: 6) {
                        Text(change.before ?? "–").strikethrough().foregroundStyle(.red)
                        Image(systemName: "arrow.right").imageScale(.small).foregroundStyle(.secondary)
                        Text(change.after ?? "–").foregroundStyle(.green)
                    }
                    .monospaced()
                }
                .accessibilityElement(children: .ignore)
                .accessibilityLabel(
                    "\(change.field) from \(change.before ?? "nothing") to \(change.after ?? "nothing")")
            }
        }
    }
}
