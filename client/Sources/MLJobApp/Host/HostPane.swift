import MLJobKit
import SwiftUI

/// The host: how full it is, who waits, and one's own certificate.
struct HostPane: View {
    let host: HostSession

    var body: some View {
        Form {
            if let info = host.info {
                CapacitySection(info: info)
                if let hosts = info.hosts, !hosts.isEmpty { FleetSection(hosts: hosts) }
                QueueSection(info: info)
            } else if let trouble = host.infoTrouble {
                RefusalSection(trouble: trouble)
            } else {
                ProgressView("Loading the host")
            }
            CertificateSection(host: host)
            if let info = host.info { VersionsSection(host: host, versions: info.versions) }
        }
        .formStyle(.grouped)
        .task {
            while !Task.isCancelled {
                await host.loadInfo()
                try? await Task.sleep(for: .seconds(10))
            }
        }
    }
}
