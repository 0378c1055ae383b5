import MLJobKit
import SwiftUI

/// Sidebar, list and job; before the first host, how to connect.
struct MainWindow: View {
    @Environment(AppModel.self) private var app
    @Environment(\.openWindow) private var openWindow
    @State private var columns = NavigationSplitViewVisibility.all
    @State private var isTargeted = false

    var body: some View {
        @Bindable var app = app
        Group {
            if let host = app.host {
                NavigationSplitView(columnVisibility: $columns) {
                    Sidebar()
                        .navigationSplitViewColumnWidth(min: 170, ideal: 200, max: 280)
                } detail: {
                    PlaceView(host: host)
                        .id(host.id)
                }
                .navigationTitle(app.place?.title ?? "ML Jobs")
                .navigationSubtitle(host.configuration.name)
            } else {
                WelcomeView()
            }
        }
        .toolbar { MainToolbar(app: app) }
        .sheet(item: $app.sheet) { SheetView(sheet: $0) }
        .troubleAlert("That did not work", $app.trouble)
        .cancelDialog($app.cancelled) { sweep in
            guard let host = app.host else { return }
            await app.act(on: sweep, of: host) { await $0.cancel() }
        }
        .onOpenURL { app.connect($0.absoluteString) }
        .dropDestination(for: URL.self) { files, _ in
            take(files)
        } isTargeted: {
            isTargeted = $0
        }
        .overlay { if isTargeted { DropHint() } }
        .onAppear { app.openMainWindow = { openWindow(id: WindowID.main) } }
    }

    /// A `.p12` that is dropped anywhere begins a connection with it.
    private func take(_ files: [URL]) -> Bool {
        guard let file = files.first(where: { ["p12", "pfx"].contains($0.pathExtension.lowercased()) }) else {
            return false
        }
        app.connect(file: file)
        return true
    }
}
