import Foundation
import MLJobKit

/// What the sidebar leads to.
enum Place: Hashable {
    case jobs(JobFilter)
    case sweeps, models, schedules, scripts, secrets, host

    static let all = JobFilter.allCases.map(Place.jobs) + [.sweeps, .models, .schedules, .scripts, .secrets, .host]

    var title: String {
        switch self {
        case .jobs(.all): "All Jobs"
        case .jobs(.running): "Running"
        case .jobs(.waiting): "Waiting"
        case .jobs(.finished): "Finished"
        case .jobs(.pinned): "Pinned"
        case .sweeps: "Sweeps"
        case .models: "Models"
        case .schedules: "Schedules"
        case .scripts: "Scripts"
        case .secrets: "Secrets"
        case .host: "Host"
        }
    }

    /// With ⌘, for as many as there are digits.
    var key: Character? {
        guard let at = Self.all.firstIndex(of: self), at < Self.keys.count else { return nil }
        return Self.keys[at]
    }

    private static let keys = Array("1234567890")

    var symbol: String {
        switch self {
        case .jobs(.all): "tray.full"
        case .jobs(.running): "play.circle"
        case .jobs(.waiting): "clock"
        case .jobs(.finished): "checkmark.circle"
        case .jobs(.pinned): "pin"
        case .sweeps: "slider.horizontal.3"
        case .models: "tag"
        case .schedules: "calendar.badge.clock"
        case .scripts: "doc.text"
        case .secrets: "key"
        case .host: "server.rack"
        }
    }
}

/// What comes over the main window.
enum Sheet: Identifiable {
    case compose(Script?)
    case rerun(ScriptForm)
    case sweep(Script?)
    case rerunSweep(Sweep)
    case schedule(Script?)
    case alias(AliasTarget)
    case share(SharedThing)
    case extend(Sweep)
    /// With an invitation that was opened, or a `.p12` that was dropped.
    case connect(String, URL?)

    var id: String {
        switch self {
        case .compose: "compose"
        case .rerun: "rerun"
        case .sweep: "sweep"
        case .rerunSweep: "rerun a sweep"
        case .schedule: "schedule"
        case .alias: "alias"
        case .share: "share"
        case .extend: "extend"
        case .connect: "connect"
        }
    }
}

/// A job of one of the hosts, as a window and a notification name it.
struct JobAddress: Codable, Hashable {
    let host: HostConfiguration.ID
    let job: Job.ID
}
