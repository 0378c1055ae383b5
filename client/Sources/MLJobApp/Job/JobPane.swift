import MLJobKit
import SwiftUI

/// One job: what it is above, and its log, metrics, files or details.
struct JobPane: View {
    let host: HostSession
    let detail: JobDetail
    @Environment(AppModel.self) private var app
    @SceneStorage("tab") private var tab = JobTab.log
    @State private var attempt = 0

    var body: some View {
        VStack(spacing: 0) {
            if let job = detail.job {
                JobHeader(host: host, detail: detail, job: job)
                tabs
                Divider()
                content(job)
            } else if let trouble = detail.connection.trouble {
                TroubleView(trouble: trouble) { attempt += 1 }
            } else {
                ProgressView("Loading the job")
                    .frame(maxWidth: .infinity, maxHeight: .infinity)
            }
        }
        .task(id: attempt) { await detail.run() }
        .onAppear { app.hasAppeared(detail.id, of: host) }
        .onDisappear { app.hasDisappeared(detail.id, of: host) }
    }

    private var tabs: some View {
        Picker("Show", selection: $tab) {
            ForEach(JobTab.allCases) { Text($0.title).tag($0) }
        }
        .pickerStyle(.segmented)
        .labelsHidden()
        .fixedSize()
        .padding(.vertical, 8)
    }

    @ViewBuilder private func content(_ job: Job) -> some View {
        switch tab {
        case .log: LogView(log: detail.log)
        case .metrics: MetricsTab(metrics: detail.metrics, job: job)
        case .files: ArtifactsTab(detail: detail, job: job)
        case .details: DetailsTab(host: host, detail: detail, job: job)
        }
    }
}

enum JobTab: String, CaseIterable, Identifiable {
    case log, metrics, files, details

    var id: Self { self }
    var title: String { rawValue.capitalized }
}
