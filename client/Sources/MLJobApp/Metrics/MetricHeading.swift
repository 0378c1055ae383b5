import MLJobKit
import SwiftUI

/// A metric's name, its newest value, and the one under the pointer.
struct MetricHeading: View {
    let series: MetricSeries
    let pointed: MetricPoint?

    var body: some View {
        HStack(alignment: .firstTextBaseline) {
            Text(series.name).font(.headline)
            if let last = series.points.last {
                Text(MetricChart.words(last.value)).monospacedDigit().foregroundStyle(.secondary)
            }
            Spacer()
            if let pointed {
                Text("step \(pointed.step): \(MetricChart.words(pointed.value))").monospacedDigit()
            } else if series.every > 1 {
                Text("every \(series.every)th of \(series.count) values").foregroundStyle(.secondary)
            }
        }
        .font(.callout)
        .accessibilityElement(children: .combine)
    }
}
