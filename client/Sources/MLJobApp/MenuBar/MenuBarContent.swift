import AppKit
import MLJobKit
import SwiftUI

/// The running jobs of all hosts with their progress, and the way to the app.
struct MenuBarContent: View {
    @Environment(AppModel.self) private var app
    @Environment(\.openWindow) private var openWindow

    var body: some View {
        VStack(alignment: .leading, spacing: 8) {
            ForEach(app.hosts.sessions) { session in
                MenuBarHost(session: session) { job in app.show(JobAddress(host: session.id, job: job.id)) }
            }
            if app.hosts.sessions.isEmpty { Text("No host is connected.").foregroundStyle(.secondary) }
            Divider()
            HStack {
                Button("Open ML Jobs") { open() }
                Spacer()
                SettingsLink()
                Button("Quit") { NSApplication.shared.terminate(nil) }
                    .keyboardShortcut("q")
            }
        }
        .padding(12)
        .frame(width: 320)
    }

    private func open() {
        openWindow(id: WindowID.main)
        NSApplication.shared.activate(ignoringOtherApps: true)
    }
}
