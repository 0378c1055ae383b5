import MLJobKit
import SwiftUI

/// Models by name: what their aliases point at, and what they pointed at before.
struct ModelsPane: View {
    let host: HostSession
    @State private var selection: ModelList.AliasAddress?

    var body: some View {
        HSplitView {
            List(selection: $selection) {
                ForEach(host.models.models) { model in
                    Section(model.model) {
                        ForEach(model.aliases) { alias in
                            AliasLabel(alias: alias)
                                .tag(ModelList.AliasAddress(model: model.id, alias: alias.alias))
                        }
                    }
                }
            }
            .frame(minWidth: 220, idealWidth: 280)
            .overlay { if host.models.models.isEmpty { ModelsEmptyView(host: host) } }
            .accessibilityLabel("Models")
            detail.frame(minWidth: 320, maxWidth: .infinity, maxHeight: .infinity)
        }
        .task {
            while !Task.isCancelled {
                await host.models.load()
                try? await Task.sleep(for: .seconds(15))
            }
        }
    }

    @ViewBuilder private var detail: some View {
        if let address = selection, let model = host.models.models.first(where: { $0.id == address.model }) {
            AliasDetail(host: host, model: model, address: address).id(address)
        } else {
            ContentUnavailableView("Choose an alias", systemImage: "tag")
        }
    }
}

struct AliasLabel: View {
    let alias: ModelAlias

    var body: some View {
        VStack(alignment: .leading, spacing: 2) {
            Text(alias.alias)
            Text(alias.path).font(.caption).foregroundStyle(.secondary).lineLimit(1).truncationMode(.middle)
        }
        .accessibilityElement(children: .combine)
    }
}

/// Why there are no models, and how one is made.
struct ModelsEmptyView: View {
    let host: HostSession

    var body: some View {
        if let trouble = host.models.trouble {
            TroubleView(trouble: trouble) { await host.models.load() }
        } else if host.models.isLoaded {
            ContentUnavailableView(
                "No models", systemImage: "tag",
                description: Text("Choose Use as Model… in the menu of a file that a completed job has left."))
        } else {
            ProgressView("Loading models")
        }
    }
}
