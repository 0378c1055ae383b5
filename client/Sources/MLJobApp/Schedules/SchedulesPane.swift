import MLJobKit
import SwiftUI

/// What runs by itself, and when next.
struct SchedulesPane: View {
    let host: HostSession
    @Environment(AppModel.self) private var app
    @State private var order = [KeyPathComparator(\Schedule.sortableNext)]

    var body: some View {
        @Bindable var app = app
        VSplitView {
            VStack(spacing: 0) {
                SchedulesTable(host: host, selection: $app.selectedSchedule, order: $order)
                HStack {
                    Spacer()
                    Button("New Schedule…") { app.composeSchedule() }
                }
                .padding(8)
            }
            .frame(minHeight: 140, idealHeight: 220)
            if let schedule = host.schedules.schedules.first(where: { $0.id == app.selectedSchedule }) {
                ScheduleDetail(host: host, schedule: schedule)
                    .id(schedule.id)
                    .frame(minHeight: 240, idealHeight: 400)
            }
        }
        .task {
            while !Task.isCancelled {
                await host.schedules.load()
                try? await Task.sleep(for: .seconds(10))
            }
        }
    }
}

struct SchedulesTable: View {
    let host: HostSession
    @Binding var selection: Schedule.ID?
    @Binding var order: [KeyPathComparator<Schedule>]

    var body: some View {
        let schedules = host.schedules.schedules.sorted(using: order)
        Table(schedules, selection: $selection, sortOrder: $order) {
            TableColumn("Status", value: \.sortableStatus) { ScheduleStatusLabel(schedule: $0) }
                .width(min: 90, ideal: 120)
            TableColumn("Name", value: \.name)
                .width(min: 100, ideal: 180)
            TableColumn("Script", value: \.scriptName)
                .width(min: 100, ideal: 180)
            TableColumn("Calendar", value: \.calendar) { Text($0.calendar).help($0.expression) }
                .width(min: 100, ideal: 160)
            TableColumn("Next", value: \.sortableNext) { NextCell(schedule: $0) }
                .width(min: 80, ideal: 140)
            TableColumn("Last Run") { LastRunCell(run: $0.last) }
                .width(min: 80, ideal: 140)
            TableColumn("Owner", value: \.owner)
                .width(min: 50, ideal: 80)
        }
        .tableStyle(.inset)
        .overlay { if schedules.isEmpty { SchedulesEmptyView(host: host) } }
        .accessibilityLabel("Schedules")
    }
}

/// Why there are no schedules, and how one is made.
struct SchedulesEmptyView: View {
    let host: HostSession

    var body: some View {
        if let trouble = host.schedules.trouble {
            TroubleView(trouble: trouble) { await host.schedules.load() }
        } else if host.schedules.isLoaded {
            ContentUnavailableView(
                "No schedules", systemImage: "calendar.badge.clock",
                description: Text("A schedule starts a job at times of a calendar. Choose New Schedule… to make one."))
        } else {
            ProgressView("Loading schedules")
        }
    }
}
