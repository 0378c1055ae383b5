import MLJobKit
import SwiftUI

/// The form of a schedule. It is made once its next times have been seen.
struct ScheduleFormSheet: View {
    let host: HostSession
    @Bindable var form: ScheduleForm
    @Environment(AppModel.self) private var app
    @Environment(\.dismiss) private var dismiss
    @State private var isSending = false
    @State private var trouble: Trouble?

    var body: some View {
        Form {
            FormHeading(form: form.job)
            CalendarSection(form: form)
            if let shown = form.shown { NextTimesSection(shown: shown, timeZone: form.timeZone) }
            ParametersSection(form: form.job)
            NameSection(form: form.job)
            InputsSection(host: host, form: form.job)
            LimitsSection(form: form.job)
            RetriesSection(form: form.job)
            if let trouble { RefusalSection(trouble: trouble) }
        }
        .formStyle(.grouped)
        .frame(width: 600, height: 680)
        .interactiveDismissDisabled(isSending)
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button(form.shown == nil ? "Show Next Times" : "Make Schedule") { Task { await send() } }
                    .disabled(isSending || !form.isValid)
                    .help(
                        form.isValid
                            ? "The schedule is made once you have seen its next times."
                            : "Some values are not right yet.")
            }
        }
    }

    private func send() async {
        isSending = true
        defer { isSending = false }
        do {
            if form.shown == nil {
                try await host.schedules.preview(form)
            } else {
                app.selectedSchedule = try await host.schedules.create(form).id
                app.place = .schedules
                dismiss()
            }
            trouble = nil
        } catch {
            trouble = Trouble(error, host.context)
        }
    }
}

/// When it runs, and what becomes of a time at which an earlier run goes on.
struct CalendarSection: View {
    @Bindable var form: ScheduleForm

    var body: some View {
        Section {
            TextField("Name", text: $form.name)
            Objection(text: form.objections["name"])
            CalendarRow(form: form)
            TextField("Time zone", text: $form.timeZone, prompt: Text("Europe/Rome")).autocorrectionDisabled()
            Objection(text: form.objections["time_zone"])
            Picker("While an earlier run goes on", selection: $form.overlap) {
                ForEach(ScheduleOverlap.known, id: \.self) { Text($0.title).tag($0) }
            }
            Objection(text: form.objections["overlap"])
            TextField("Delay by up to", text: $form.delay, prompt: Text("no delay")).multilineTextAlignment(.trailing)
            Objection(text: form.objections["randomized_delay_seconds"])
            Objection(text: form.objections["job"])
        } header: {
            Text("Schedule")
        } footer: {
            Text("A calendar expression of systemd. A delay is drawn at random for each time.")
        }
    }
}

/// The expression: typed, or one that is often asked for.
struct CalendarRow: View {
    @Bindable var form: ScheduleForm

    var body: some View {
        HStack {
            TextField("Calendar", text: $form.calendar, prompt: Text("Mon..Fri 02:00"))
                .autocorrectionDisabled()
            Menu("Choose") {
                ForEach(ScheduleForm.examples, id: \.calendar) { example in
                    Button("\(example.meaning): \(example.calendar)") { form.calendar = example.calendar }
                }
            }
            .fixedSize()
        }
        if !form.calendar.isEmpty { Objection(text: form.objections["calendar"]) }
    }
}

/// The next times as the host counts them, in the schedule's time zone.
struct NextTimesSection: View {
    let shown: SchedulePreview
    let timeZone: String

    var body: some View {
        Section {
            ForEach(shown.next, id: \.self) { Text(Self.words($0, in: timeZone)).monospacedDigit() }
        } header: {
            Text("Next times")
        } footer: {
            Text("\(shown.expression), in \(timeZone)")
        }
    }

    /// In this Mac's time zone where the name is not one that it knows.
    static func words(_ date: Date, in timeZone: String) -> String {
        var style = Date.FormatStyle(date: .complete, time: .shortened)
        if let zone = TimeZone(identifier: timeZone) { style.timeZone = zone }
        return date.formatted(style)
    }
}
