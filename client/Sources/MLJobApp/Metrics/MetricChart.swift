import Charts
import MLJobKit
import SwiftUI

/// One metric over its steps. The value next to the pointer is shown beside the curve.
struct MetricChart: View {
    let metrics: MetricsModel
    let series: MetricSeries
    @State private var step: Double?

    var body: some View {
        VStack(alignment: .leading, spacing: 4) {
            MetricHeading(series: series, pointed: pointed)
            Chart {
                ForEach(series.points, id: \.step) { point in
                    LineMark(x: .value("Step", Double(point.step)), y: .value(series.name, point.value))
                        .interpolationMethod(.linear)
                        .accessibilityLabel("Step \(point.step)")
                        .accessibilityValue(Self.words(point.value))
                }
                if let pointed { hover(pointed) }
            }
            .chartXSelection(value: $step)
            .chartXAxisLabel("Step")
            .frame(height: 180)
            .accessibilityLabel("Chart of \(series.name)")
        }
    }

    private var pointed: MetricPoint? { step.flatMap { metrics.point(of: series.name, nearest: $0) } }

    @ChartContentBuilder private func hover(_ point: MetricPoint) -> some ChartContent {
        RuleMark(x: .value("Step", Double(point.step)))
            .foregroundStyle(.tertiary)
        PointMark(x: .value("Step", Double(point.step)), y: .value(series.name, point.value))
            .symbolSize(60)
    }

    static func words(_ value: Double) -> String { value.formatted(.number.precision(.significantDigits(1...6))) }
}
