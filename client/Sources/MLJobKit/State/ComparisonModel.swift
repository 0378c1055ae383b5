import Foundation
import Observation

/// The comparison of some jobs, asked for anew when its jobs or its objective are others.
@MainActor @Observable
public final class ComparisonModel {
    /// As many columns as a person reads.
    public static let most = 20

    public private(set) var comparison: Comparison?
    /// Of two jobs.
    public private(set) var difference: JobDifference?
    public private(set) var trouble: Trouble?
    /// The metric that decides, if any does.
    public var objective: SweepObjective?
    public var onlyDifferences = true
    @ObservationIgnored private let agent: Agent
    @ObservationIgnored private let context: @MainActor () -> TroubleContext

    public init(agent: Agent, context: @escaping @MainActor () -> TroubleContext = { TroubleContext() }) {
        self.agent = agent
        self.context = context
    }

    public var table: ComparisonTable? {
        comparison.map { ComparisonTable($0, onlyDifferences: onlyDifferences) }
    }

    /// Asks for the comparison of these jobs. What is shown stays until the answer is there.
    public func load(_ jobs: [Job.ID]) async {
        do {
            comparison = try await agent.compare(Array(jobs.prefix(Self.most)), by: objective)
            trouble = nil
        } catch {
            trouble = Trouble(error, context())
        }
    }

    /// Asks in what two jobs differ.
    public func loadDifference(from a: Job.ID, to b: Job.ID) async {
        do {
            difference = try await agent.difference(from: a, to: b)
            trouble = nil
        } catch {
            trouble = Trouble(error, context())
        }
    }
}
