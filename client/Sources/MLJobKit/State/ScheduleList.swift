import Foundation
import Observation

/// The schedules that one may see, with their runs.
@MainActor @Observable
public final class ScheduleList {
    /// By name.
    public private(set) var schedules: [Schedule] = []
    /// The newest first.
    public private(set) var runs: [Schedule.ID: [ScheduleRun]] = [:]
    public private(set) var isLoaded = false
    public private(set) var trouble: Trouble?
    public private(set) var isActing = false
    @ObservationIgnored let agent: Agent
    @ObservationIgnored let context: @MainActor () -> TroubleContext

    public init(agent: Agent, context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }) {
        self.agent = agent
        self.context = context
    }

    /// Asks for all schedules, page by page.
    public func load() async {
        do {
            var (found, cursor): ([Schedule], String?) = ([], nil)
            repeat {
                let page = try await agent.schedules(cursor: cursor)
                found += page.schedules
                cursor = page.nextCursor
            } while cursor != nil
            schedules = found.sorted { $0.name.localizedStandardCompare($1.name) == .orderedAscending }
            (isLoaded, trouble) = (true, nil)
        } catch {
            trouble = Trouble(error, context())
        }
    }

    public func loadRuns(of id: Schedule.ID) async {
        do {
            runs[id] = try await agent.runs(of: id)
            trouble = nil
        } catch {
            trouble = Trouble(error, context())
        }
    }

    // MARK: Acting

    /// What can be done to a schedule.
    public enum Action: Hashable, Sendable, CaseIterable {
        case pause, resume, run, remove
    }

    /// Carries it out, and shows what became of it. Raises `Trouble`.
    public func act(_ action: Action, on schedule: Schedule) async throws {
        isActing = true
        defer { isActing = false }
        do {
            try await ask(action, schedule.id)
        } catch {
            throw Trouble(error, context()) ?? error
        }
        await load()
        if action != .remove { await loadRuns(of: schedule.id) }
    }

    private func ask(_ action: Action, _ id: Schedule.ID) async throws {
        switch action {
        case .pause: _ = try await agent.pauseSchedule(id)
        case .resume: _ = try await agent.resumeSchedule(id)
        case .run: _ = try await agent.runSchedule(id)
        case .remove:
            do {
                _ = try await agent.removeSchedule(id)
            } catch let problem as Problem where problem.code == "schedule-not-found" {
                // Its first answer was lost, or somebody else was faster: it is gone.
            }
        }
    }
}

extension Schedule {
    /// Whether an action makes sense now.
    public func allows(_ action: ScheduleList.Action) -> Bool {
        switch action {
        case .pause: status == .active
        case .resume: status != .active
        case .run: status != .suspended
        case .remove: true
        }
    }

    /// What a table sorts by; a schedule without a next time comes last.
    public var sortableNext: Date { next.first ?? .distantFuture }
    public var sortableStatus: Int { ScheduleStatus.known.firstIndex(of: status) ?? ScheduleStatus.known.count }
}
