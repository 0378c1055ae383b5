import Foundation
import MLJobKit
import UserNotifications

/// What a notification says of a job that has ended.
struct Notice: Sendable {
    let title: String
    let host: String
    let words: String
    let isLoud: Bool
    let address: JobAddress
    /// Notifications of the same script on the same host are one group.
    let group: String

    /// Nil while the job has not ended.
    init?(_ job: Job, _ host: HostConfiguration) {
        guard let outcome = job.outcome else { return nil }
        title = job.title
        self.host = host.name
        words = job.message.map { "\(outcome). \($0)" } ?? outcome
        isLoud = job.status != .completed
        address = JobAddress(host: host.id, job: job.id)
        group = "\(host.id)/\(job.scriptName)"
    }

    /// Asks the person the first time; macOS remembers the answer. Whoever said no gets none.
    ///
    /// The centre's objects belong to no actor: they are made and used in here alone.
    nonisolated func deliver() async {
        let center = UNUserNotificationCenter.current()
        guard (try? await center.requestAuthorization(options: [.alert, .sound])) == true else { return }
        let content = UNMutableNotificationContent()
        content.title = title
        content.subtitle = host
        content.body = words
        content.sound = isLoud ? .default : nil
        content.threadIdentifier = group
        content.userInfo = ["host": address.host.uuidString, "job": address.job]
        // The job's own name: a second notification of the same end takes the place of the first.
        let name = "\(address.host)/\(address.job)"
        try? await center.add(UNNotificationRequest(identifier: name, content: content, trigger: nil))
    }
}
