import MLJobKit
import SwiftUI

/// What a person must know of the host while its jobs are shown: that they may be out of date, or that the certificate
/// will end.
struct HostBanner: View {
    let host: HostSession
    @Environment(AppModel.self) private var app

    var body: some View {
        if let trouble = host.connection.trouble, trouble.needsCertificate {
            Banner(trouble: trouble, action: "Connect Again…") { app.connect() }
        } else if let trouble = host.connection.trouble, !host.jobs.jobs.isEmpty {
            Banner(trouble: trouble, action: isRefused ? "Try Again" : nil) { host.restart() }
        } else if let trouble = host.renewalTrouble {
            Banner(trouble: trouble, action: "Renew Now") { Task { await host.renew() } }
        }
    }

    private var isRefused: Bool { if case .refused = host.connection { true } else { false } }
}

extension Trouble {
    /// Nothing but another certificate helps.
    var needsCertificate: Bool {
        switch kind {
        case .certificateExpired, .certificateRefused, .identityMissing: true
        default: false
        }
    }
}

/// A line of trouble above a view that still shows what it knows.
struct Banner: View {
    let trouble: Trouble
    let action: LocalizedStringKey?
    let act: () -> Void

    var body: some View {
        HStack(spacing: 8) {
            Image(systemName: trouble.symbol).foregroundStyle(.orange)
            Text(trouble.title).bold()
            Text(trouble.advice).foregroundStyle(.secondary)
            Spacer()
            if let action { Button(action) { act() } }
        }
        .lineLimit(1)
        .help(trouble.sentences)
        .padding(8)
        .background(.bar)
        .accessibilityElement(children: .combine)
    }
}
