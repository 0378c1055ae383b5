import MLJobKit
import SwiftUI

/// A chart for each metric.
struct MetricsTab: View {
    let metrics: MetricsModel
    let job: Job

    var body: some View {
        if metrics.series.isEmpty {
            MetricsEmptyView(job: job, ignored: metrics.ignored)
        } else {
            ScrollView {
                VStack(alignment: .leading, spacing: 20) {
                    ForEach(metrics.series) { series in
                        MetricChart(metrics: metrics, series: series)
                    }
                    if metrics.refused > 0 {
                        Label(
                            "\(metrics.refused) values of further metrics are not kept: a job may have so many names.",
                            systemImage: "exclamationmark.triangle")
                    }
                    if let ignored = metrics.ignored {
                        Label(ignored.text, systemImage: "exclamationmark.triangle")
                    }
                }
                .padding()
            }
        }
    }
}
