import Charts
import MLJobKit
import SwiftUI

/// Each trial as a line through its parameters to its result: where the good ones run together, the values matter.
struct ParallelCoordinatesTab: View {
    let sweep: Sweep
    let rows: [TrialRow]
    let selection: Set<TrialRow.ID>

    var body: some View {
        let model = ParallelCoordinates(sweep, rows: rows, selected: selection)
        VStack(alignment: .leading, spacing: 8) {
            Chart {
                ForEach(model.axes) { CoordinateAxis(axis: $0) }
                ForEach(model.lines) { TrialLine(line: $0) }
            }
            .chartYScale(domain: 0.0...1.0)
            .chartYAxis(.hidden)
            .chartLegend(.hidden)
            .frame(minHeight: 200, maxHeight: .infinity)
            .accessibilityLabel("Parallel coordinates of \(sweep.title)")
            Text(words(model)).font(.caption).foregroundStyle(.secondary)
        }
        .padding()
    }

    private func words(_ model: ParallelCoordinates) -> String {
        let colours = "Darker lines are better trials, the orange one is the best. Selected ones are purple."
        return model.leftOut == 0 ? colours : "\(colours) \(model.leftOut) worse trials have no line."
    }
}

/// An axis, with its ends or its words beside it.
struct CoordinateAxis: ChartContent {
    let axis: ParallelCoordinates.Axis

    var body: some ChartContent {
        RuleMark(x: .value("Parameter", axis.name))
            .foregroundStyle(.tertiary)
        ForEach(axis.labels) { label in
            PointMark(x: .value("Parameter", axis.name), y: .value("Place", label.at))
                .symbolSize(12)
                .foregroundStyle(.secondary)
                .annotation(position: .trailing) { Text(label.text).font(.caption2).foregroundStyle(.secondary) }
                .accessibilityLabel("\(axis.name): \(label.text)")
        }
    }
}

/// A trial's line.
struct TrialLine: ChartContent {
    let line: ParallelCoordinates.Line

    var body: some ChartContent {
        ForEach(line.points) { point in
            LineMark(
                x: .value("Parameter", point.axis), y: .value("Place", point.at), series: .value("Trial", line.trial)
            )
            .foregroundStyle(color)
            .lineStyle(StrokeStyle(lineWidth: line.isBest || line.isSelected ? 2.5 : 1))
            .accessibilityLabel("Trial \(line.trial)")
            .accessibilityValue(line.words)
        }
    }

    private var color: Color {
        if line.isSelected { return .purple }
        if line.isBest { return .orange }
        guard let quality = line.quality else { return Color.gray.opacity(0.25) }
        return Color.accentColor.opacity(0.15 + 0.75 * quality)
    }
}
