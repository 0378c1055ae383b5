import MLJobKit
import SwiftUI

struct ScriptRow: View {
    let script: Script

    var body: some View {
        VStack(alignment: .leading, spacing: 2) {
            Text(script.name).lineLimit(1).truncationMode(.middle)
            if !script.description.isEmpty {
                Text(script.description).font(.caption).foregroundStyle(.secondary).lineLimit(2)
            }
        }
        .accessibilityElement(children: .combine)
    }
}
