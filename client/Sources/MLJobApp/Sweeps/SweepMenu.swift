import MLJobKit
import SwiftUI

/// The menu of a sweep's row. What ends something asks first.
struct SweepMenu: View {
    let host: HostSession
    let sweep: Sweep
    @Environment(AppModel.self) private var app

    var body: some View {
        if sweep.canPause { Button("Pause") { act { await $0.pause() } } }
        if sweep.canResume { Button("Resume") { act { await $0.resume() } } }
        if sweep.canExtend { Button("More Trials…") { app.sheet = .extend(sweep) } }
        Button("Run Again…") { app.sheet = .rerunSweep(sweep) }
        Button("Cancel…", role: .destructive) { app.cancelled = sweep }
            .disabled(!sweep.canCancel)
        Button(sweep.pinned ? "Unpin" : "Pin") { act { await $0.setPinned(!sweep.pinned) } }
        Button("Share…") { app.sheet = .share(.sweep(sweep.id)) }
        Divider()
        Button("Copy ID") { Pasteboard.copy(sweep.id) }
    }

    private func act(_ deed: @escaping @MainActor (SweepDetail) async -> Void) {
        Task { await app.act(on: sweep, of: host, deed) }
    }
}
