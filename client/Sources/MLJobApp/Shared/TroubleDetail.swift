import MLJobKit
import SwiftUI

/// The words for whoever is asked for help.
struct TroubleDetail: View {
    let trouble: Trouble

    var body: some View {
        if !trouble.detail.isEmpty {
            Text(trouble.detail)
                .font(.caption)
                .foregroundStyle(.secondary)
                .textSelection(.enabled)
                .lineLimit(1...4)
        }
    }
}
