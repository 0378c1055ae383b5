import MLJobKit
import SwiftUI

/// What the sidebar's selection shows.
struct PlaceView: View {
    let host: HostSession
    @Environment(AppModel.self) private var app

    var body: some View {
        VStack(spacing: 0) {
            HostBanner(host: host)
            OutboxBar(outbox: host.outbox)
            switch app.place {
            case .jobs, nil: JobsPane(host: host)
            case .sweeps: SweepsPane(host: host)
            case .models: ModelsPane(host: host)
            case .schedules: SchedulesPane(host: host)
            case .scripts: ScriptsPane(host: host)
            case .secrets: SecretsPane(host: host)
            case .host: HostPane(host: host)
            }
        }
    }
}
