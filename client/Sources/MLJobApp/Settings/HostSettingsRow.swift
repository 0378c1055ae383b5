import MLJobKit
import SwiftUI

struct HostSettingsRow: View {
    let host: HostConfiguration
    let forget: () -> Void
    @Environment(AppModel.self) private var app
    @State private var name: String

    init(host: HostConfiguration, forget: @escaping () -> Void) {
        self.host = host
        self.forget = forget
        _name = State(initialValue: host.name)
    }

    var body: some View {
        LabeledContent {
            Button("Forget…", role: .destructive) { forget() }
        } label: {
            TextField("Name", text: $name)
                .labelsHidden()
                .onSubmit { if !name.isEmpty { app.attempt { try app.hosts.rename(host.id, to: name) } } }
            Text("\(host.user) at \(host.address.absoluteString)").font(.caption).foregroundStyle(.secondary)
            if let trouble = app.hosts.broken[host.id] {
                Objection(text: "\(trouble.title) \(trouble.advice)")
            }
        }
    }
}
