import MLJobKit
import SwiftUI

/// The small curve of a job's first metric.
struct SparklineView: View {
    let values: [Double]

    var body: some View {
        SparklineShape(values: values)
            .stroke(.tint, lineWidth: 1.5)
            .frame(height: 16)
            .padding(.vertical, 2)
            .accessibilityElement(children: .ignore)
            .accessibilityLabel(spoken)
    }

    private var spoken: String {
        guard let first = values.first, let last = values.last else { return "No metric" }
        let direction = last > first ? "rising" : last < first ? "falling" : "level"
        return "Metric \(direction), now \(last.formatted(.number.precision(.significantDigits(1...4))))"
    }
}
