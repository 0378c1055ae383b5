import SwiftUI

/// A moment as people say it, with the exact one behind it.
struct DateCell: View {
    let date: Date

    var body: some View {
        Text(date, style: .relative)
            .monospacedDigit()
            .help(date.formatted(date: .complete, time: .standard))
            .accessibilityValue(date.formatted(date: .abbreviated, time: .shortened))
    }
}
