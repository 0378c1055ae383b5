import MLJobKit
import SwiftUI

/// More trials for a sweep.
struct ExtendSheet: View {
    let host: HostSession
    let sweep: Sweep
    @Environment(AppModel.self) private var app
    @Environment(\.dismiss) private var dismiss
    @State private var trials = ""

    var body: some View {
        Form {
            Section {
                TextField("Trials in all", text: $trials, prompt: Text("\(sweep.trials) so far"))
                    .multilineTextAlignment(.trailing)
                if !trials.isEmpty { Objection(text: sweep.objection(toExtending: trials)) }
            } header: {
                Text("More trials for \(sweep.title)")
            } footer: {
                Text("A sweep that has completed goes on.")
            }
        }
        .formStyle(.grouped)
        .frame(width: 420)
        .fixedSize(horizontal: false, vertical: true)
        .toolbar {
            ToolbarItem(placement: .cancellationAction) { Button("Cancel", role: .cancel) { dismiss() } }
            ToolbarItem(placement: .confirmationAction) {
                Button("Extend") { extend() }.disabled(sweep.objection(toExtending: trials) != nil)
            }
        }
    }

    private func extend() {
        guard let count = Int(trials) else { return }
        Task { await app.act(on: sweep, of: host) { await $0.extend(to: count) } }
        dismiss()
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
        Objection(text: changes.objections[field])
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
