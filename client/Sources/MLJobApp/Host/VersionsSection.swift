import MLJobKit
import SwiftUI

struct VersionsSection: View {
    let host: HostSession
    let versions: Versions

    var body: some View {
        Section("Host") {
            LabeledContent("Address") { CopyableText(host.configuration.address.absoluteString) }
            LabeledContent("Agent", value: versions.agent)
            LabeledContent("systemd", value: versions.systemd ?? "not known")
            LabeledContent("Podman", value: versions.podman ?? "not known")
            if let skew = host.agent.clockSkew, abs(skew) > 60 {
                Label(
                    "Its clock and this Mac's are \(DurationCell.words(abs(skew))) apart.",
                    systemImage: "clock.badge.exclamationmark")
            }
        }
    }
}
