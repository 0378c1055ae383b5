import Foundation
import Observation

/// What a form offers as inputs: the files that jobs have left.
@MainActor @Observable
public final class InputSources {
    /// What each job has left, as far as it was asked for.
    public private(set) var files: [Job.ID: [Artifact]] = [:]
    /// Why that is not known.
    public private(set) var troubles: [Job.ID: Trouble] = [:]
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored private let context: @MainActor () -> TroubleContext

    public init(agent: Agent, context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }) {
        self.agent = agent
        self.context = context
    }

    /// Asks what a job has left. What is no job's id, as while it is typed, is not asked for.
    public func load(_ id: Job.ID) async {
        guard JobCheck.objection(toID: id) == nil else { return }
        do {
            files[id] = try await agent.artifacts(id).artifacts
            troubles[id] = nil
        } catch {
            troubles[id] = Trouble(error, context())
        }
    }
}

extension JobList {
    /// The newest jobs whose files may be inputs: they have completed, or not ended.
    public func sources(_ most: Int = 30) -> [Job] {
        newest(most) { $0.status == .completed || !$0.status.isFinal }
    }

    /// The newest jobs that have not ended, for which another one may wait.
    public func unfinished(_ most: Int = 30) -> [Job] { newest(most) { !$0.status.isFinal } }

    private func newest(_ most: Int, where isRight: (Job) -> Bool) -> [Job] {
        Array(jobs.values.filter(isRight).sorted { ($1.createdAt, $1.id) < ($0.createdAt, $0.id) }.prefix(most))
    }
}
