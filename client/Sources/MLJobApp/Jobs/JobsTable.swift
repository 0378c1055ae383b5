import MLJobKit
import SwiftUI

/// The jobs of one filter, searched and sorted, which change by themselves.
struct JobsTable: View {
    @Bindable var list: JobList
    @Binding var selection: Set<Job.ID>
    let act: (JobAction, Job) -> Void
    let open: (Job) -> Void

    var body: some View {
        let jobs = list.visible
        Group {
            if jobs.contains(where: { $0.host != nil }) {
                table(jobs) {
                    columns
                    TableColumn("Host", value: \.sortableHost) { Text($0.sortableHost).truncationMode(.middle) }
                        .width(min: 60, ideal: 90)
                }
            } else {
                table(jobs) { columns }
            }
        }
        .overlay { if jobs.isEmpty { JobsEmptyView(list: list) } }
        .accessibilityLabel("Jobs")
    }

    private func table<Columns: TableColumnContent<Job, KeyPathComparator<Job>>>(
        _ jobs: [Job], @TableColumnBuilder<Job, KeyPathComparator<Job>> _ columns: () -> Columns
    ) -> some View {
        Table(jobs, selection: $selection, sortOrder: $list.sortOrder, columns: columns)
            .tableStyle(.inset)
            .contextMenu(forSelectionType: Job.ID.self) { ids in
                if ids.count == 1, let job = ids.first.flatMap({ list.jobs[$0] }) { JobMenu(job: job, act: act) }
            } primaryAction: { ids in
                if let job = ids.first.flatMap({ list.jobs[$0] }) { open(job) }
            }
    }

    @TableColumnBuilder<Job, KeyPathComparator<Job>>
    private var columns: some TableColumnContent<Job, KeyPathComparator<Job>> {
        TableColumn("Status", value: \.sortableStatus) { StatusLabel(job: $0) }
            .width(min: 90, ideal: 130)
        TableColumn("Name", value: \.title) { JobNameCell(job: $0) }
            .width(min: 120, ideal: 200)
        TableColumn("Script", value: \.scriptName) { Text($0.scriptName).truncationMode(.middle) }
            .width(min: 100, ideal: 170)
        TableColumn("Progress") { ProgressCell(job: $0, list: list) }
            .width(min: 60, ideal: 110)
        TableColumn("Metric") { MetricCell(job: $0, list: list) }
            .width(min: 50, ideal: 90)
        TableColumn("Owner", value: \.owner)
            .width(min: 50, ideal: 80)
        TableColumn("Created", value: \.createdAt) { DateCell(date: $0.createdAt) }
            .width(min: 80, ideal: 120)
        TableColumn("Ended", value: \.sortableEnd) { EndCell(job: $0) }
            .width(min: 80, ideal: 120)
        TableColumn("Duration") { DurationCell(job: $0) }
            .width(min: 60, ideal: 80)
    }
}
