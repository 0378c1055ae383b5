import SwiftUI

/// Names and their values, by name.
struct ValuesSection: View {
    let title: LocalizedStringKey
    let values: [String: String]
    let empty: LocalizedStringKey

    var body: some View {
        Section(title) {
            if values.isEmpty { Text(empty).foregroundStyle(.secondary) }
            ForEach(values.sorted { $0.key < $1.key }, id: \.key) { name, value in
                LabeledContent(name) { CopyableText(value) }
            }
        }
    }
}
