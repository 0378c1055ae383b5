import MLJobKit
import SwiftUI

/// What went wrong and what to do, in the middle of an otherwise empty view.
struct TroubleView: View {
    let trouble: Trouble
    var retry: (@MainActor () async -> Void)?
    @State private var isRetrying = false

    var body: some View {
        ContentUnavailableView {
            Label {
                Text(trouble.title)
            } icon: {
                Image(systemName: trouble.symbol)
            }
        } description: {
            Text(trouble.advice)
            TroubleDetail(trouble: trouble)
        } actions: {
            if let retry {
                Button("Try Again") {
                    isRetrying = true
                    Task {
                        await retry()
                        isRetrying = false
                    }
                }
                .disabled(isRetrying)
                .keyboardShortcut("r")
            }
        }
    }
}
