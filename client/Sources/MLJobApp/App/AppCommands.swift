import MLJobKit
import SwiftUI

/// The menu bar's own entries.
struct AppCommands: Commands {
    let app: AppModel

    var body: some Commands {
        CommandGroup(replacing: .newItem) {
            NewItemMenu(app: app)
        }
        CommandGroup(before: .sidebar) {
            ForEach(Place.all, id: \.self) { place in
                if let key = place.key {
                    Button(place.title) { app.place = place }.keyboardShortcut(KeyEquivalent(key))
                } else {
                    Button(place.title) { app.place = place }
                }
            }
            Divider()
        }
        CommandMenu("Job") { JobCommandMenu(app: app) }
    }
}

/// A view of its own, as the menu below: only views are drawn anew when the model changes.
struct NewItemMenu: View {
    let app: AppModel

    var body: some View {
        Button("New Job…") { app.compose() }
            .keyboardShortcut("n")
            .disabled(app.host == nil)
        Button("New Sweep…") { app.composeSweep() }
            .keyboardShortcut("n", modifiers: [.command, .shift])
            .disabled(app.host == nil)
        Button("New Schedule…") { app.composeSchedule() }
            .disabled(app.host == nil)
        Button("Connect to a Host…") { app.connect() }
            .keyboardShortcut("k")
    }
}

/// What can be done to the selected job.
struct JobCommandMenu: View {
    let app: AppModel

    var body: some View {
        let job = app.job
        Button("Run Again…") { act(.rerun) }
            .keyboardShortcut("r", modifiers: [.command, .shift])
            .disabled(job == nil)
        Button("Cancel Job") { act(.cancel) }
            .keyboardShortcut(".")
            .disabled(job.map { $0.status.isFinal || $0.cancelRequested } ?? true)
        Button(job?.pinned == true ? "Unpin" : "Pin") { act(job?.pinned == true ? .unpin : .pin) }
            .keyboardShortcut("p", modifiers: [.command, .shift])
            .disabled(job == nil)
        Button("Share…") { act(.share) }
            .disabled(job == nil)
        Divider()
        Button("Copy ID") { act(.copyID) }
            .keyboardShortcut("c", modifiers: [.command, .option])
            .disabled(job == nil)
        Button("Copy as Command") { act(.copyCommand) }
            .keyboardShortcut("c", modifiers: [.command, .shift])
            .disabled(job == nil)
    }

    private func act(_ action: JobAction) {
        guard let job = app.job, let host = app.host else { return }
        Task { await app.act(action, on: job, of: host) }
    }
}
