import MLJobKit
import SwiftUI

@main
struct MLJobApp: App {
    @NSApplicationDelegateAdaptor private var delegate: AppDelegate
    @AppStorage(Preference.showsMenuBar) private var showsMenuBar = true

    var body: some Scene {
        Window("ML Jobs", id: WindowID.main) {
            MainWindow()
                .environment(delegate.app)
                .frame(minWidth: 900, minHeight: 520)
        }
        .defaultSize(width: 1200, height: 760)
        .commands {
            AppCommands(app: delegate.app)
            SidebarCommands()
            ToolbarCommands()
        }

        WindowGroup("Job", id: WindowID.job, for: JobAddress.self) { $address in
            JobWindow(address: address)
                .environment(delegate.app)
                .frame(minWidth: 640, minHeight: 420)
        }
        .defaultSize(width: 900, height: 640)
        // Invitations are the main window's.
        .handlesExternalEvents(matching: [])

        Settings {
            SettingsView()
                .environment(delegate.app)
        }

        MenuBarExtra(isInserted: $showsMenuBar) {
            MenuBarContent()
                .environment(delegate.app)
        } label: {
            MenuBarLabel(app: delegate.app)
        }
        .menuBarExtraStyle(.window)
    }
}

enum WindowID {
    static let main = "main"
    static let job = "job"
}

/// The keys of what the app's settings keep.
enum Preference {
    static let showsMenuBar = "showsMenuBar"
    static let notifies = "notifies"
    static let notifiesOnSuccess = "notifiesOnSuccess"
}
