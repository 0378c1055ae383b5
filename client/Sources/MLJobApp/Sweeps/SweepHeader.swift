import MLJobKit
import SwiftUI

/// A sweep's name, state and best value, and what can be done to it.
struct SweepHeader: View {
    let host: HostSession
    let detail: SweepDetail
    let sweep: Sweep

    var body: some View {
        HStack(spacing: 12) {
            VStack(alignment: .leading, spacing: 2) {
                Text(sweep.title).font(.headline).lineLimit(1).truncationMode(.middle)
                Text(sweep.scriptName).font(.subheadline).foregroundStyle(.secondary)
            }
            .accessibilityElement(children: .combine)
            .accessibilityAddTraits(.isHeader)
            SweepStatusLabel(sweep: sweep)
            SweepProgressCell(sweep: sweep).frame(width: 160)
            SweepBestCell(sweep: sweep)
            Spacer()
            SweepButtons(host: host, detail: detail, sweep: sweep)
        }
        .padding(.horizontal, 12)
        .padding(.top, 8)
        if let words {
            Text(words)
                .font(.callout)
                .foregroundStyle(.secondary)
                .textSelection(.enabled)
                .frame(maxWidth: .infinity, alignment: .leading)
                .padding(.horizontal, 12)
        }
    }

    /// Why it ended, or what it waits for.
    private var words: String? {
        let parts = [sweep.status == .completed ? nil : sweep.reason?.explanation, sweep.message].compactMap { $0 }
        return parts.isEmpty ? nil : parts.joined(separator: " ")
    }
}

/// Pause, extend, run again, pin, cancel.
struct SweepButtons: View {
    let host: HostSession
    let detail: SweepDetail
    let sweep: Sweep
    @Environment(AppModel.self) private var app

    var body: some View {
        HStack(spacing: 8) {
            if sweep.canPause {
                Button("Pause") { act { await $0.pause() } }
                    .help("It makes no more trials. Those that wait or run go on.")
            }
            if sweep.canResume { Button("Resume") { act { await $0.resume() } } }
            if sweep.canExtend { Button("More Trials…") { app.sheet = .extend(sweep) } }
            Button("Run Again…") { app.sheet = .rerunSweep(sweep) }
            Button(sweep.pinned ? "Unpin" : "Pin") { act { await $0.setPinned(!sweep.pinned) } }
                .help("A pinned sweep is kept with all its trials.")
            if sweep.canCancel { Button("Cancel", role: .destructive) { app.cancelled = sweep } }
        }
        .disabled(detail.isActing)
    }

    private func act(_ deed: @escaping @MainActor (SweepDetail) async -> Void) {
        Task { await app.act(on: sweep, of: host, deed) }
    }
}

extension View {
    /// Asks before a sweep is cancelled.
    func cancelDialog(_ sweep: Binding<Sweep?>, cancel: @escaping @MainActor (Sweep) async -> Void) -> some View {
        let isPresented = Binding(get: { sweep.wrappedValue != nil }, set: { if !$0 { sweep.wrappedValue = nil } })
        return confirmationDialog(
            "Cancel this sweep?", isPresented: isPresented, titleVisibility: .visible, presenting: sweep.wrappedValue
        ) { sweep in
            Button("Cancel Sweep", role: .destructive) { Task { await cancel(sweep) } }
            Button("Keep Running", role: .cancel) {}
        } message: { sweep in
            Text("It makes no more trials, and \(sweep.unfinished) that wait or run are cancelled.")
        }
    }
}
