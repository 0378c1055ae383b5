import MLJobKit
import SwiftUI

/// More trials for a sweep.
struct ExtendSheet: View {
    let host: HostSession
    let sweep: Sweep
    @Environment(\.dismiss) private var dismiss
    @State private var trials = ""
    @State private var isSending = false
    @State private var trouble: Trouble?

    var body: some View {
        Form {
            Section {
                TextField("Trials in all", text: $trials, prompt: Text("\(sweep.trials) so far"))
                    .multilineTextAlignment(.trailing)
                if !trials.isEmpty {
                    Objection(text: sweep.objection(toExtending: trials) ?? trouble?.message(for: "trials"))
                }
            } header: {
                Text("More trials for \(sweep.title)")
            } footer: {
                Text("A sweep that has completed goes on.")
            }
            if let trouble { RefusalSection(trouble: trouble) }
        }
        .formStyle(.grouped)
        .frame(width: 420)
        .fixedSize(horizontal: false, vertical: true)
        .interactiveDismissDisabled(isSending)
        .onChange(of: trials) { trouble = nil }
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button("Extend") { Task { await extend() } }
                    .disabled(isSending || sweep.objection(toExtending: trials) != nil)
            }
        }
    }

    /// The sheet stays, with what was typed, where the host refuses it.
    private func extend() async {
        guard let count = Int(trials) else { return }
        isSending = true
        defer { isSending = false }
        let detail = host.detail(ofSweep: sweep.id)
        await detail.extend(to: count)
        trouble = detail.actionTrouble
        detail.actionTrouble = nil
        if trouble == nil { dismiss() }
    }
}

/// A sweep again, with the same code, image and space.
struct RerunSweepSheet: View {
    let host: HostSession
    let sweep: Sweep
    @Environment(AppModel.self) private var app
    @Environment(\.dismiss) private var dismiss
    @State private var changes = SweepChanges()
    @State private var isSending = false
    @State private var trouble: Trouble?

    var body: some View {
        Form {
            Section {
                row("Name", $changes.name, sweep.name ?? "optional", "name")
                row("Trials", $changes.trials, String(sweep.trials), "trials")
                row("At once", $changes.atOnce, String(sweep.atOnce), "at_once")
                row("Seed", $changes.seed, String(sweep.seed), "seed")
            } header: {
                Text("Run \(sweep.title) again")
            } footer: {
                Text("At the same commit and image, with the same space. An empty field is as it was.")
            }
            if let trouble { RefusalSection(trouble: trouble) }
        }
        .formStyle(.grouped)
        .frame(width: 460)
        .fixedSize(horizontal: false, vertical: true)
        .interactiveDismissDisabled(isSending)
        .onChange(of: changes) { trouble = nil }
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button("Run Again") { Task { await send() } }.disabled(isSending || !changes.objections.isEmpty)
            }
        }
    }

    @ViewBuilder private func row(
        _ title: LocalizedStringKey, _ text: Binding<String>, _ example: String, _ field: String
    ) -> some View {
        TextField(title, text: text, prompt: Text(example))
            .multilineTextAlignment(.trailing)
        Objection(text: changes.objections[field] ?? trouble?.message(for: field))
    }

    private func send() async {
        isSending = true
        defer { isSending = false }
        do {
            if let sweep = try await host.rerun(sweep, changes) { app.showSweep(sweep.id) }
            dismiss()
        } catch {
            trouble = Trouble(error, host.context)
        }
    }
}
