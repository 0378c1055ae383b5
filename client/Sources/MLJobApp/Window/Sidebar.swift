import MLJobKit
import SwiftUI

/// Jobs by their state, experiments, what the host offers, and the hosts.
struct Sidebar: View {
    @Environment(AppModel.self) private var app

    var body: some View {
        @Bindable var app = app
        List(selection: $app.place) {
            Section("Jobs") {
                ForEach(JobFilter.allCases) { filter in
                    row(.jobs(filter)).badge(count(filter))
                }
            }
            Section("Experiments") {
                row(.sweeps).badge(app.host?.sweeps.activeCount ?? 0)
                row(.models)
                row(.schedules)
            }
            Section("Host") {
                row(.scripts)
                row(.secrets)
                row(.host)
            }
        }
        .listStyle(.sidebar)
        .safeAreaInset(edge: .bottom) { HostMenu() }
        .accessibilityLabel("Sidebar")
    }

    private func row(_ place: Place) -> some View {
        Label(place.title, systemImage: place.symbol).tag(place)
    }

    /// Numbers for what changes; how many have finished says little.
    private func count(_ filter: JobFilter) -> Int {
        switch filter {
        case .running, .waiting: app.host?.jobs.count(filter) ?? 0
        case .all, .finished, .pinned: 0
        }
    }
}
