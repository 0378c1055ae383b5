import MLJobKit
import SwiftUI

/// How many rows have what is searched for, and which one is shown.
struct LogMatches: View {
    let log: LogModel

    var body: some View {
        Group {
            if log.search.isEmpty {
                EmptyView()
            } else if log.isSearching {
                ProgressView().controlSize(.small).accessibilityLabel("Searching")
            } else if log.matches.isEmpty {
                Text("No matches")
            } else {
                Text("\((log.currentMatch ?? 0) + 1) of \(log.matches.count)").monospacedDigit()
            }
        }
        .font(.caption)
        .foregroundStyle(.secondary)
        .accessibilityAddTraits(.updatesFrequently)
    }
}
