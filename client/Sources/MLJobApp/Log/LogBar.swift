import MLJobKit
import SwiftUI

/// Search, follow, what to show, copy and save.
struct LogBar: View {
    @Bindable var log: LogModel
    @Binding var target: Int?
    let selection: LogSelection
    @FocusState private var isSearching: Bool
    @State private var trouble: Trouble?
    @State private var isSaving = false

    var body: some View {
        HStack(spacing: 8) {
            TextField("Find", text: $log.search, prompt: Text("Find in the log"))
                .textFieldStyle(.roundedBorder)
                .frame(maxWidth: 260)
                .focused($isSearching)
                .onSubmit { step(forward: true) }
            LogMatches(log: log)
            stepButton("Previous Match", "chevron.up", forward: false, modifiers: [.command, .shift])
            stepButton("Next Match", "chevron.down", forward: true, modifiers: .command)
            Spacer()
            Toggle("Follow", isOn: $log.isFollowing)
                .toggleStyle(.checkbox)
                .keyboardShortcut("l", modifiers: [.command, .shift])
                .help("Keep to the end as lines arrive")
            LogOptions(log: log)
            saveButtons
        }
        .padding(8)
        .background(.bar)
        .background { findShortcut }
        .troubleAlert("The log was not saved", $trouble)
    }

    private func stepButton(
        _ name: LocalizedStringKey, _ symbol: String, forward: Bool, modifiers: EventModifiers
    ) -> some View {
        Button {
            step(forward: forward)
        } label: {
            Label(name, systemImage: symbol).labelStyle(.iconOnly)
        }
        .keyboardShortcut("g", modifiers: modifiers)
        .disabled(log.matches.isEmpty)
        .help(name)
    }

    private func step(forward: Bool) { target = log.goToMatch(forward: forward) }

    /// A button that is not seen: ⌘F puts the cursor into the field.
    private var findShortcut: some View {
        Button("Find") { isSearching = true }
            .keyboardShortcut("f")
            .opacity(0)
            .accessibilityHidden(true)
    }

    private var saveButtons: some View {
        Menu("Share") {
            Button(selection.rows.isEmpty ? "Copy All" : "Copy Selected Lines") {
                Pasteboard.copy(selection.text(of: log))
            }
            .disabled(log.count == 0)
            Button("Save As…") { Task { await save() } }
                .keyboardShortcut("s")
                .disabled(isSaving)
        }
        .fixedSize()
        .accessibilityHint("Copies or saves the log")
    }

    private func save() async {
        guard
            let file = await SavePanel.file(named: "\(log.job).log", message: "The job's whole output, byte for byte.")
        else { return }
        isSaving = true
        defer { isSaving = false }
        do { try await log.save(to: file) } catch { trouble = Trouble(error) }
    }
}
