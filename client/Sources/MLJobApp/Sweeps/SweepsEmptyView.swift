import MLJobKit
import SwiftUI

/// Why there are no sweeps, and what to do.
struct SweepsEmptyView: View {
    let host: HostSession
    @Environment(AppModel.self) private var app

    var body: some View {
        if let trouble = host.connection.trouble, host.sweeps.sweeps.isEmpty {
            TroubleView(trouble: trouble) { host.restart() }
        } else if !host.sweeps.search.isEmpty {
            ContentUnavailableView.search(text: host.sweeps.search)
        } else if !host.connection.isConnected {
            ProgressView("Loading sweeps")
        } else {
            ContentUnavailableView {
                Label("No sweeps yet", systemImage: "slider.horizontal.3")
            } description: {
                Text("A sweep runs one script with many hyperparameters, and finds the best of them.")
            } actions: {
                Button("New Sweep…") { app.composeSweep() }
                    .buttonStyle(.borderedProminent)
            }
        }
    }
}
