import MLJobKit
import SwiftUI

/// One's own certificate: whose, until when, and how it is renewed.
struct CertificateSection: View {
    let host: HostSession

    var body: some View {
        let configuration = host.configuration
        Section {
            LabeledContent("User", value: configuration.user)
            if let details = configuration.details {
                LabeledContent("Good until", value: TimesSection.words(details.notAfter))
                LabeledContent("Renewed by itself from", value: TimesSection.words(details.renewFrom))
                LabeledContent("Serial") { CopyableText(details.serial) }
            }
            LabeledContent("Authorities", value: configuration.authorities.count, format: .number)
            Button(host.isRenewing ? "Renewing…" : "Renew Now") { Task { await host.renew() } }
                .disabled(host.isRenewing || !host.connection.isConnected)
            if let trouble = host.renewalTrouble { RefusalSection(trouble: trouble) }
        } header: {
            Text("Certificate")
        } footer: {
            Text("Its key was made on this Mac, or imported by you, and is in your keychain.")
        }
    }
}
