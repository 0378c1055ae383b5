import Foundation
import MLJobKit
import UserNotifications

/// Tells of jobs that have ended, and leads from a notification to its job.
@MainActor
final class Notifier: NSObject {
    /// Called when a notification is clicked.
    var onOpen: ((JobAddress) -> Void)?
    private let defaults = UserDefaults.standard

    /// Outside an app's bundle there is no centre, and asking for it ends the program.
    private var center: UNUserNotificationCenter? {
        Bundle.main.bundleIdentifier == nil ? nil : UNUserNotificationCenter.current()
    }

    func start() {
        center?.delegate = self
        defaults.register(defaults: [Preference.notifies: true, Preference.notifiesOnSuccess: true])
    }

    func tell(of job: Job, on host: HostConfiguration) {
        guard center != nil, let notice = Notice(job, host), wants(job) else { return }
        Task { await notice.deliver() }
    }

    private func wants(_ job: Job) -> Bool {
        defaults.bool(forKey: Preference.notifies)
            && (job.status != .completed || defaults.bool(forKey: Preference.notifiesOnSuccess))
    }

    private func open(host: String, job: String) {
        guard let id = UUID(uuidString: host) else { return }
        onOpen?(JobAddress(host: id, job: job))
    }
}

extension Notifier: UNUserNotificationCenterDelegate {
    /// Shown also while the app is in front: the job may be in another window.
    nonisolated func userNotificationCenter(
        _ center: UNUserNotificationCenter, willPresent notification: UNNotification
    ) async -> UNNotificationPresentationOptions {
        [.banner, .list, .sound]
    }

    nonisolated func userNotificationCenter(
        _ center: UNUserNotificationCenter, didReceive response: UNNotificationResponse
    ) async {
        let info = response.notification.request.content.userInfo
        guard let host = info["host"] as? String, let job = info["job"] as? String else { return }
        await open(host: host, job: job)
    }
}
