import MLJobKit
import SwiftUI

/// A schedule: what it submits, its next times, and what became of the earlier ones.
struct ScheduleDetail: View {
    let host: HostSession
    let schedule: Schedule

    var body: some View {
        VStack(spacing: 0) {
            ScheduleHeader(host: host, schedule: schedule)
            Divider()
            HSplitView {
                Form {
                    next
                    facts
                    ValuesSection(
                        title: "Hyperparameters", values: (schedule.job ?? schedule.sweep?.job)?.hyperparameters ?? [:],
                        empty: "The script's defaults")
                }
                .formStyle(.grouped)
                .frame(minWidth: 280, idealWidth: 340)
                ScheduleRuns(host: host, schedule: schedule)
            }
        }
        .task(id: schedule.revision) { await host.schedules.loadRuns(of: schedule.id) }
    }

    private var next: some View {
        Section("Next times") {
            if schedule.next.isEmpty { Text("None while it is \(schedule.status.title.lowercased())") }
            ForEach(schedule.next, id: \.self) { Text(TimesSection.words($0)).monospacedDigit() }
        }
    }

    private var facts: some View {
        Section("Schedule") {
            LabeledContent("ID") { CopyableText(schedule.id) }
            LabeledContent("Owner", value: schedule.owner)
            LabeledContent(schedule.sweep == nil ? "Job of" : "Sweep of", value: schedule.scriptName)
            LabeledContent("Calendar") { CopyableText(schedule.expression) }
            LabeledContent("While an earlier run goes on", value: schedule.overlap.title)
            if schedule.randomizedDelaySeconds > 0 {
                LabeledContent("Delay", value: "Up to \(Quantity.format(seconds: schedule.randomizedDelaySeconds))")
            }
        }
    }
}

/// Pause, resume, run now, remove.
struct ScheduleHeader: View {
    let host: HostSession
    let schedule: Schedule
    @Environment(AppModel.self) private var app
    @State private var asksToRemove = false

    var body: some View {
        HStack(spacing: 12) {
            Text(schedule.name).font(.headline).lineLimit(1).accessibilityAddTraits(.isHeader)
            ScheduleStatusLabel(schedule: schedule)
            if let words = schedule.message ?? schedule.reason?.explanation {
                Text(words).foregroundStyle(.secondary).lineLimit(2).textSelection(.enabled)
            }
            Spacer()
            if schedule.allows(.run) { Button("Run Now") { act(.run) } }
            if schedule.allows(.pause) {
                Button("Pause") { act(.pause) }.help("Times until it is resumed are not caught up.")
            }
            if schedule.allows(.resume) { Button("Resume") { act(.resume) } }
            Button("Remove…", role: .destructive) { asksToRemove = true }
        }
        .disabled(host.schedules.isActing)
        .padding(12)
        .confirmationDialog("Remove this schedule?", isPresented: $asksToRemove, titleVisibility: .visible) {
            Button("Remove \(schedule.name)", role: .destructive) { act(.remove) }
        } message: {
            Text("Its jobs and sweeps stay, and those that run go on.")
        }
    }

    private func act(_ action: ScheduleList.Action) {
        Task {
            do {
                try await host.schedules.act(action, on: schedule)
            } catch {
                app.trouble = Trouble(error, host.context)
            }
        }
    }
}

/// What became of each time, the newest first.
struct ScheduleRuns: View {
    let host: HostSession
    let schedule: Schedule
    @Environment(AppModel.self) private var app
    @State private var selection: ScheduleRun.ID?

    var body: some View {
        let runs = host.schedules.runs[schedule.id] ?? []
        Table(runs, selection: $selection) {
            TableColumn("Time") { Text(TimesSection.words($0.slot)).monospacedDigit() }
            TableColumn("What became of it") { LastRunCell(run: $0) }
            TableColumn("By") { Text($0.manual ? "hand" : "the calendar") }
            TableColumn("Job or sweep") { CopyableText($0.jobID ?? $0.sweepID ?? "") }
        }
        .contextMenu(forSelectionType: ScheduleRun.ID.self) { ids in
            if let run = runs.first(where: { ids.contains($0.id) }) {
                Button("Show") { show(run) }.disabled(run.jobID == nil && run.sweepID == nil)
            }
        } primaryAction: { ids in
            if let run = runs.first(where: { ids.contains($0.id) }) { show(run) }
        }
        .overlay {
            if runs.isEmpty { ContentUnavailableView("No runs yet", systemImage: "calendar.badge.clock") }
        }
        .accessibilityLabel("Runs")
    }

    private func show(_ run: ScheduleRun) {
        if let job = run.jobID { app.show(JobAddress(host: host.id, job: job)) }
        if let sweep = run.sweepID { app.showSweep(sweep) }
    }
}
