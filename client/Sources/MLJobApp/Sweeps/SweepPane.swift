import MLJobKit
import SwiftUI

/// One sweep: what it is above, and its trials, charts or details.
struct SweepPane: View {
    let host: HostSession
    let detail: SweepDetail
    @Environment(AppModel.self) private var app
    @SceneStorage("sweepTab") private var tab = SweepTab.trials
    @State private var selection = Set<TrialRow.ID>()
    @State private var attempt = 0

    var body: some View {
        VStack(spacing: 0) {
            if let sweep = detail.sweep {
                SweepHeader(host: host, detail: detail, sweep: sweep)
                tabs
                Divider()
                content(sweep)
            } else if let trouble = detail.trouble {
                TroubleView(trouble: trouble) { attempt += 1 }
            } else {
                ProgressView("Loading the sweep")
                    .frame(maxWidth: .infinity, maxHeight: .infinity)
            }
        }
        .task(id: attempt) { await detail.run() }
        .onDisappear { host.closeDetail(ofSweep: detail.id) }
    }

    private var tabs: some View {
        Picker("Show", selection: $tab) {
            ForEach(SweepTab.allCases) { Text($0.title).tag($0) }
        }
        .pickerStyle(.segmented)
        .labelsHidden()
        .fixedSize()
        .padding(.vertical, 8)
    }

    @ViewBuilder private func content(_ sweep: Sweep) -> some View {
        let rows = TrialRow.rows(of: detail.trials, in: sweep)
        if tab == .details {
            SweepDetailsTab(host: host, sweep: sweep)
        } else if rows.isEmpty {
            TrialsEmptyView(detail: detail) { attempt += 1 }
        } else {
            switch tab {
            case .trials, .details: TrialsTab(host: host, sweep: sweep, rows: rows, selection: $selection)
            case .parameters: ParallelCoordinatesTab(sweep: sweep, rows: rows, selection: selection)
            case .curves: CurvesTab(curves: detail.curves, sweep: sweep, rows: rows, selection: selection)
            }
        }
    }
}

enum SweepTab: String, CaseIterable, Identifiable {
    case trials, parameters, curves, details

    var id: Self { self }
    var title: String { rawValue.capitalized }
}

/// Why no trial is shown.
struct TrialsEmptyView: View {
    let detail: SweepDetail
    let retry: () -> Void

    var body: some View {
        if let trouble = detail.trouble {
            TroubleView(trouble: trouble) { retry() }
        } else if detail.isLoaded {
            ContentUnavailableView(
                "No trials yet", systemImage: "slider.horizontal.3",
                description: Text("They appear here as the sweep makes them."))
        } else {
            ProgressView("Loading trials").frame(maxWidth: .infinity, maxHeight: .infinity)
        }
    }
}
