import MLJobKit
import SwiftUI

/// A row for each sweep: how far it is, and the best value so far.
struct SweepsTable: View {
    let host: HostSession
    @Bindable var list: SweepList
    @Binding var selection: Sweep.ID?

    var body: some View {
        let sweeps = list.visible
        Table(sweeps, selection: $selection, sortOrder: $list.sortOrder) {
            TableColumn("Status", value: \.sortableStatus) { SweepStatusLabel(sweep: $0) }
                .width(min: 90, ideal: 120)
            TableColumn("Name", value: \.title) { SweepNameCell(sweep: $0) }
                .width(min: 120, ideal: 200)
            TableColumn("Script", value: \.scriptName) { Text($0.scriptName).truncationMode(.middle) }
                .width(min: 100, ideal: 170)
            TableColumn("Progress", value: \.progress) { SweepProgressCell(sweep: $0) }
                .width(min: 90, ideal: 150)
            TableColumn("Best") { SweepBestCell(sweep: $0) }
                .width(min: 80, ideal: 140)
            TableColumn("Owner", value: \.owner)
                .width(min: 50, ideal: 80)
            TableColumn("Created", value: \.createdAt) { DateCell(date: $0.createdAt) }
                .width(min: 80, ideal: 120)
        }
        .tableStyle(.inset)
        .contextMenu(forSelectionType: Sweep.ID.self) { ids in
            if let sweep = ids.first.flatMap({ list.sweeps[$0] }) { SweepMenu(host: host, sweep: sweep) }
        }
        .overlay { if sweeps.isEmpty { SweepsEmptyView(host: host) } }
        .accessibilityLabel("Sweeps")
    }
}
