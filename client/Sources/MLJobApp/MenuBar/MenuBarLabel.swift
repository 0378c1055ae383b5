import MLJobKit
import SwiftUI

/// What the menu bar shows all the time: how many jobs run, on all hosts.
struct MenuBarLabel: View {
    let app: AppModel
    @Environment(\.openWindow) private var openWindow

    var body: some View {
        let running = app.hosts.sessions.reduce(0) { $0 + $1.jobs.running.count }
        HStack(spacing: 2) {
            Image(systemName: running > 0 ? "brain.filled.head.profile" : "brain.head.profile")
            if running > 0 { Text("\(running)").monospacedDigit() }
        }
        .onAppear { app.openMainWindow = { openWindow(id: WindowID.main) } }
        .accessibilityElement(children: .ignore)
        .accessibilityLabel(running == 1 ? "1 job is running" : "\(running) jobs are running")
    }
}
