import MLJobKit
import SwiftUI

/// One job: what it is above, and its log, metrics, files or details.
struct JobPane: View {
    let host: HostSession
    let detail: JobDetail
    @SceneStorage("tab") private var tab = JobTab.log

    var body: some View {
        VStack(spacing: 0) {
            if let job = detail.job {
                JobHeader(host: host, detail: detail, job: job)
                tabs
                Divider()
                content(job)
            } else if let trouble = detail.connection.trouble {
                TroubleView(trouble: trouble) { await detail.run() }
            } else {
                ProgressView("Loading the job")
                    .frame(maxWidth: .infinity, maxHeight: .infinity)
            }
        }
        .task(id: detail.id) { await detail.run() }
        .onDisappear { host.closeDetail(of: detail.id) }
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
