import MLJobKit
import SwiftUI

/// In what two jobs differ, with the script's changes, and what that did to their metrics.
struct DifferenceView: View {
    let model: ComparisonModel
    /// The earlier job first.
    let jobs: [Job.ID]
    @State private var attempt = 0

    var body: some View {
        Group {
            if let difference = model.difference, difference.a == jobs.first, difference.b == jobs.last {
                DifferenceForm(difference: difference)
            } else if let trouble = model.trouble {
                TroubleView(trouble: trouble) { attempt += 1 }
            } else {
                ProgressView("Comparing the jobs").frame(maxWidth: .infinity, maxHeight: .infinity)
            }
        }
        .task(id: jobs + ["\(attempt)"]) {
            if let a = jobs.first, let b = jobs.last { await model.loadDifference(from: a, to: b) }
        }
    }
}

struct DifferenceForm: View {
    let difference: JobDifference

    var body: some View {
        Form {
            if difference.isEmpty {
                Text("Both jobs ran the same script, image and parameters.").foregroundStyle(.secondary)
            }
            ForEach(difference.changes) { group in
                Section(group.title) {
                    ForEach(group.rows, id: \.name) { DifferenceRow(row: $0) }
                }
            }
            metrics
            if let commit = difference.commit { CommitSection(commit: commit) }
        }
        .formStyle(.grouped)
    }

    private var metrics: some View {
        Section("Metrics") {
            if difference.metrics.isEmpty { Text("None is known of either job.").foregroundStyle(.secondary) }
            ForEach(difference.metrics) { LabeledContent($0.name, value: $0.words).monospacedDigit() }
        }
    }
}

/// A value of the earlier job, struck through, and that of the later one.
struct DifferenceRow: View {
    let row: Difference

    var body: some View {
        LabeledContent(row.name) {
            HStack(spacing: 6) {
                Text(row.a ?? "–").strikethrough().foregroundStyle(.red)
                Image(systemName: "arrow.right").imageScale(.small).foregroundStyle(.secondary)
                Text(row.b ?? "–").foregroundStyle(.green)
            }
            .monospaced()
            .textSelection(.enabled)
        }
        .accessibilityElement(children: .ignore)
        .accessibilityLabel("\(row.name) from \(row.a ?? "nothing") to \(row.b ?? "nothing")")
    }
}

/// The commits between the two jobs, and what they changed in the script.
struct CommitSection: View {
    let commit: CommitDifference

    var body: some View {
        Section("Commit") {
            DifferenceRow(
                row: Difference(name: "Commit", a: String(commit.a.prefix(12)), b: String(commit.b.prefix(12))))
            if let unknown = commit.unknown { Text(unknown).foregroundStyle(.secondary) }
            ForEach(commit.log) { one in
                LabeledContent(String(one.commit.prefix(12))) {
                    Text("\(one.subject), \(one.author)").lineLimit(1).truncationMode(.middle)
                }
                .help(TimesSection.words(one.time))
            }
        }
        Section("Changes of the script") {
            if commit.diff.isEmpty && commit.unknown == nil {
                Text("The script is the same in both commits.").foregroundStyle(.secondary)
            }
            ScrollView(.horizontal) {
                VStack(alignment: .leading, spacing: 1) {
                    ForEach(DiffLine.lines(of: commit.diff)) { DiffLineView(line: $0) }
                }
            }
            .accessibilityLabel("Changes of the script")
            if commit.cut { Text("There is more than is shown.").foregroundStyle(.secondary) }
        }
    }
}

/// A line with its sign, which tells additions and removals apart without colours, too.
struct DiffLineView: View {
    let line: DiffLine

    var body: some View {
        Text(verbatim: line.text.isEmpty ? " " : line.text)
            .font(.caption)
            .monospaced()
            .textSelection(.enabled)
            .foregroundStyle(color)
    }

    private var color: Color {
        switch line.kind {
        case .added: .green
        case .removed: .red
        case .heading: .secondary
        case .context: .primary
        }
    }
}
