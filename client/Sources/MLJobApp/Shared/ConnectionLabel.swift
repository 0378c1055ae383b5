import MLJobKit
import SwiftUI

/// One line that says how it stands with a host or a stream.
struct ConnectionLabel: View {
    let state: ConnectionState

    var body: some View {
        switch state {
        case .idle: Label("Not connected", systemImage: "circle.dotted")
        case .connecting: Label("Connecting", systemImage: "arrow.triangle.2.circlepath")
        case .connected: Label("Live", systemImage: "circle.fill").foregroundStyle(.green)
        case .offline(let trouble, let retryAt):
            HStack(spacing: 4) {
                Label("Offline", systemImage: "wifi.slash").foregroundStyle(.orange)
                Text(retryAt, style: .relative).monospacedDigit()
            }
            .help(trouble.sentences)
            .accessibilityElement(children: .combine)
            .accessibilityValue(trouble.title)
        case .refused(let trouble):
            Label("Refused", systemImage: trouble.symbol)
                .foregroundStyle(.red)
                .help(trouble.sentences)
                .accessibilityValue(trouble.title)
        }
    }
}
