import SwiftUI

/// What is wrong with a field, below it.
struct Objection: View {
    let text: String?

    var body: some View {
        if let text {
            Label(text, systemImage: "exclamationmark.circle")
                .font(.caption)
                .foregroundStyle(.red)
                .accessibilityLabel("Not right: \(text)")
        }
    }
}
