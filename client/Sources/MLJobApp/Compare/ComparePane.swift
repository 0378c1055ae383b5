import MLJobKit
import SwiftUI

/// The selected jobs side by side, where there are two or more.
struct ComparePane: View {
    let jobs: [Job.ID]
    @State private var model: ComparisonModel
    @State private var attempt = 0
    @State private var showsDifference = false

    init(host: HostSession, jobs: [Job.ID]) {
        self.jobs = jobs
        _model = State(initialValue: host.comparison())
    }

    var body: some View {
        VStack(spacing: 0) {
            if jobs.count == 2 { modes }
            if showsDifference && jobs.count == 2 {
                DifferenceView(model: model, jobs: jobs)
            } else if let table = model.table {
                CompareBar(model: model, metrics: table.metrics, count: jobs.count)
                Divider()
                CompareGrid(table: table)
            } else if let trouble = model.trouble {
                TroubleView(trouble: trouble) { attempt += 1 }
            } else {
                ProgressView("Comparing the jobs").frame(maxWidth: .infinity, maxHeight: .infinity)
            }
        }
        .task(id: Question(jobs: jobs, objective: model.objective, attempt: attempt)) { await model.load(jobs) }
    }

    private var modes: some View {
        Picker("Show", selection: $showsDifference) {
            Text("Side by Side").tag(false)
            Text("Difference").tag(true)
        }
        .pickerStyle(.segmented)
        .labelsHidden()
        .fixedSize()
        .padding(.top, 8)
    }

    /// What the comparison is asked for with; another one is asked anew.
    private struct Question: Hashable {
        let jobs: [Job.ID]
        let objective: SweepObjective?
        let attempt: Int
    }
}

/// Which metric decides, and whether rows that agree are shown.
struct CompareBar: View {
    @Bindable var model: ComparisonModel
    let metrics: [String]
    let count: Int

    var body: some View {
        HStack(spacing: 12) {
            Text("\(min(count, ComparisonModel.most)) jobs").font(.headline).accessibilityAddTraits(.isHeader)
            if count > ComparisonModel.most { Text("of \(count)").foregroundStyle(.secondary) }
            if let trouble = model.trouble { Label(trouble.title, systemImage: trouble.symbol).help(trouble.sentences) }
            Spacer()
            Picker("Best", selection: $model.objective) {
                Text("No metric").tag(SweepObjective?.none)
                ForEach(choices, id: \.self) { one in
                    Text("\(one.direction.title) \(one.metric)").tag(SweepObjective?.some(one))
                }
            }
            .pickerStyle(.menu)
            .fixedSize()
            Toggle("Only Differences", isOn: $model.onlyDifferences).toggleStyle(.checkbox)
        }
        .padding(8)
    }

    private var choices: [SweepObjective] {
        metrics.flatMap { metric in Direction.known.map { SweepObjective(metric: metric, direction: $0) } }
    }
}

/// A column for each job, a row for each fact.
struct CompareGrid: View {
    let table: ComparisonTable

    var body: some View {
        if table.groups.isEmpty {
            ContentUnavailableView(
                "No differences", systemImage: "equal.circle",
                description: Text("These jobs agree in all that is recorded of them."))
        } else {
            ScrollView([.horizontal, .vertical]) {
                Grid(alignment: .leading, horizontalSpacing: 20, verticalSpacing: 6) {
                    ForEach(table.groups) { group in
                        GridRow { Text(group.title).font(.headline).accessibilityAddTraits(.isHeader) }
                        ForEach(group.rows) { CompareRow(row: $0, titles: table.titles) }
                    }
                }
                .padding()
            }
            .accessibilityLabel("Comparison")
        }
    }
}

/// One fact of each job; the best values are bold, with a star.
struct CompareRow: View {
    let row: ComparisonTable.Row
    let titles: [String]

    var body: some View {
        GridRow {
            Text(row.title).foregroundStyle(.secondary)
            ForEach(Array(row.values.enumerated()), id: \.offset) { at, value in
                HStack(spacing: 4) {
                    Text(value.isEmpty ? "–" : value)
                        .fontWeight(row.best.contains(at) ? .bold : .regular)
                        .monospacedDigit()
                        .textSelection(.enabled)
                    if row.best.contains(at) { Image(systemName: "star.fill").foregroundStyle(.yellow) }
                }
                .accessibilityElement(children: .ignore)
                .accessibilityLabel("\(row.title) of \(titles[at])")
                .accessibilityValue(row.best.contains(at) ? "\(value), the best" : value)
            }
        }
    }
}
