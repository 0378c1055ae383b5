import MLJobKit
import SwiftUI

/// Why the host did not take the job. What concerns one field is shown beside it, too.
struct RefusalSection: View {
    let trouble: Trouble

    var body: some View {
        Section {
            Label {
                VStack(alignment: .leading, spacing: 4) {
                    Text(trouble.title).bold()
                    if !trouble.advice.isEmpty { Text(trouble.advice) }
                    ForEach(trouble.fields, id: \.field) { Text("\($0.field): \($0.message)").monospaced() }
                    TroubleDetail(trouble: trouble)
                }
            } icon: {
                Image(systemName: trouble.symbol).foregroundStyle(.red)
            }
            .accessibilityElement(children: .combine)
        }
    }
}
