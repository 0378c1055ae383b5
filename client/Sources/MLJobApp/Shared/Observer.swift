import Foundation

/// Calls back on the main actor with each notification, until it is let go.
final class Observer {
    private let center: NotificationCenter
    private let token: any NSObjectProtocol

    init(
        of name: Notification.Name, from sender: AnyObject? = nil, in center: NotificationCenter = .default,
        then action: @escaping @MainActor () -> Void
    ) {
        self.center = center
        token = center.addObserver(forName: name, object: sender, queue: .main) { _ in
            // The main queue is the main actor's.
            MainActor.assumeIsolated(action)
        }
    }

    deinit { center.removeObserver(token) }
}
