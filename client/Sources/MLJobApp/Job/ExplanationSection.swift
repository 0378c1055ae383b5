import MLJobKit
import SwiftUI

/// Why the job waits, or why it ended as it did, and what would help.
struct ExplanationSection: View {
    let explanation: Explanation

    var body: some View {
        Section("Explanation") {
            VStack(alignment: .leading, spacing: 4) {
                Text(explanation.summary)
                ForEach(explanation.advice, id: \.self) { Text($0).foregroundStyle(.secondary) }
            }
            .textSelection(.enabled)
            if !explanation.evidence.isEmpty {
                DisclosureGroup("Evidence") {
                    ForEach(explanation.evidence, id: \.self) { each in
                        LabeledContent(each.line.map { "Line \($0)" } ?? each.source.rawValue.capitalized) {
                            Text(each.text).font(.caption.monospaced()).textSelection(.enabled)
                        }
                    }
                }
            }
        }
    }
}
