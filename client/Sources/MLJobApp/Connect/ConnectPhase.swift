import MLJobKit
import SwiftUI

/// What is being done, or why it failed.
struct ConnectPhase: View {
    let enrolment: EnrolmentModel

    var body: some View {
        switch enrolment.phase {
        case .ready, .done: EmptyView()
        case .working(let words):
            HStack {
                ProgressView().controlSize(.small)
                Text(words)
            }
            .accessibilityElement(children: .combine)
        case .failed(let trouble):
            RefusalSection(trouble: trouble)
        }
    }
}
