import MLJobKit
import SwiftUI

/// Which rows are shown.
struct LogOptions: View {
    @Bindable var log: LogModel

    var body: some View {
        Menu("Show") {
            Toggle("Messages of systemd and Podman", isOn: $log.filter.showsSystem)
            Toggle("Progress and metric lines", isOn: $log.filter.showsMarks)
            Toggle("Only matches", isOn: $log.filter.onlyMatches)
                .disabled(log.search.isEmpty)
        }
        .fixedSize()
    }
}
