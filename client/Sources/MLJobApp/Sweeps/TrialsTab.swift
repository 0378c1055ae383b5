import MLJobKit
import SwiftUI

/// The trials as a table, sorted by any of its columns. The selected ones are marked in the charts, too.
struct TrialsTab: View {
    let host: HostSession
    let sweep: Sweep
    let rows: [TrialRow]
    @Binding var selection: Set<TrialRow.ID>
    @Environment(AppModel.self) private var app
    @Environment(\.openWindow) private var openWindow
    /// Nil for the best trial first.
    @State private var order: [TrialOrder]?

    /// Parameters that have a column of their own: as many as a table takes.
    private static let most = 5

    var body: some View {
        let names = sweep.dimensionNames
        switch min(names.count, Self.most + 1) {
        case 0, 1: table { parameter(0) }
        case 2:
            table {
                parameter(0)
                parameter(1)
            }
        case 3:
            table {
                parameter(0)
                parameter(1)
                parameter(2)
            }
        case 4:
            table {
                parameter(0)
                parameter(1)
                parameter(2)
                parameter(3)
            }
        case 5:
            table {
                parameter(0)
                parameter(1)
                parameter(2)
                parameter(3)
                parameter(4)
            }
        default:
            table {
                parameter(0)
                parameter(1)
                parameter(2)
                parameter(3)
                parameter(4)
                others
            }
        }
    }

    private typealias Column = TableColumn<TrialRow, TrialOrder, Text, Text>

    private func table<Parameters: TableColumnContent<TrialRow, TrialOrder>>(
        @TableColumnBuilder<TrialRow, TrialOrder> _ parameters: () -> Parameters
    ) -> some View {
        Table(rows.sorted(by: orders.wrappedValue), selection: $selection, sortOrder: orders) {
            TableColumn("Trial", sortUsing: TrialOrder(.number)) { TrialNumberCell(row: $0) }
                .width(min: 50, ideal: 60)
            TableColumn("Status", sortUsing: TrialOrder(.status)) { TrialStatusLabel(trial: $0.trial) }
                .width(min: 90, ideal: 120)
            TableColumn(LocalizedStringKey(sweep.objective.metric), sortUsing: TrialOrder(.value)) {
                TrialValueCell(row: $0)
            }
            .width(min: 70, ideal: 90)
            parameters()
            TableColumn("Duration", sortUsing: TrialOrder(.duration)) { TrialDurationCell(trial: $0.trial) }
                .width(min: 60, ideal: 80)
        }
        .tableStyle(.inset)
        .contextMenu(forSelectionType: TrialRow.ID.self) { ids in
            if let id = ids.first {
                Button("Open the Job in a New Window") { open(id) }
                Button("Copy ID") { Pasteboard.copy(id) }
            }
        } primaryAction: { ids in
            if let id = ids.first { open(id) }
        }
        .accessibilityLabel("Trials")
    }

    private var orders: Binding<[TrialOrder]> {
        Binding {
            order ?? [.best(of: sweep)]
        } set: {
            order = $0
        }
    }

    private func parameter(_ at: Int) -> Column {
        let names = sweep.dimensionNames
        let name = names.indices.contains(at) ? names[at] : "Parameters"
        return TableColumn(LocalizedStringKey(name), sortUsing: TrialOrder(.parameter(at))) { Text($0.value(at)) }
    }

    /// The rest in one column, sorted by the first of them.
    private var others: Column {
        TableColumn("Others", sortUsing: TrialOrder(.parameter(Self.most))) {
            Text($0.words(from: Self.most, names: sweep.dimensionNames))
        }
    }

    private func open(_ id: TrialRow.ID) {
        openWindow(id: WindowID.job, value: JobAddress(host: host.id, job: id))
    }
}
