import MLJobKit
import SwiftUI

/// The hosts of a fleet, and how full each is.
struct FleetSection: View {
    let hosts: [HostEntry]

    var body: some View {
        Section("Hosts") {
            ForEach(hosts) { host in
                LabeledContent(host.name) {
                    Text("\(state(of: host)), \(host.inUse.jobs) of \(host.capacity.jobs) jobs").monospacedDigit()
                }
            }
        }
    }

    private func state(of host: HostEntry) -> String {
        if host.forgotten ?? false { return "forgotten" }
        if !host.reachable { return "unreachable since \(TimesSection.words(host.seenAt))" }
        return host.draining ? "draining" : "ready"
    }
}
