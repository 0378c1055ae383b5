import AppKit
import MLJobKit

/// Owns what lives as long as the app, whichever windows are open.
@MainActor
final class AppDelegate: NSObject, NSApplicationDelegate {
    let app = AppModel(vault: KeychainVault(), folder: AppDelegate.folder)
    private var observations: [Observer] = []
    private var network: NetworkWatch?

    func applicationDidFinishLaunching(_ notification: Notification) {
        app.start()
        let workspace = NSWorkspace.shared.notificationCenter
        observations = [
            Observer(of: NSWorkspace.willSleepNotification, in: workspace) { [app] in app.hosts.sleep() },
            Observer(of: NSWorkspace.didWakeNotification, in: workspace) { [app] in app.hosts.wake() },
        ]
        network = NetworkWatch { [app] in app.hosts.wake() }
    }

    /// Jobs go on, and so do the menu bar and the notifications.
    func applicationShouldTerminateAfterLastWindowClosed(_ sender: NSApplication) -> Bool { false }

    /// In the app's container, where it is sandboxed.
    static let folder = URL.applicationSupportDirectory.appending(path: "ML Jobs", directoryHint: .isDirectory)
}
