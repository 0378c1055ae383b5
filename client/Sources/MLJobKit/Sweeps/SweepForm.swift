import Foundation
import Observation

/// The form of a new sweep: built from what its script declares, checked by the agent's rules.
@MainActor @Observable
public final class SweepForm {
    /// What all trials have in common: the parameters that are fixed, name, labels, limits, attempts.
    public let job: ScriptForm
    public var dimensions: [DimensionField]
    public var metric = ""
    public var direction = Direction.maximize
    public var strategy = SweepStrategy.tpe
    public var pruner: SweepPruner?
    /// Empty for all points of a grid.
    public var trials = "60"
    public var atOnce = "4"
    /// Empty for one that the host chooses.
    public var seed = ""
    /// The agent's objections, by field, until the next attempt.
    public private(set) var refused: [String: String] = [:]

    /// `latest` is the script's newest sweep, whose objective is likely to be asked for again.
    public init(script: Script, latest: Sweep? = nil) {
        job = ScriptForm(script: script)
        dimensions = script.parameters.filter { !$0.sensitive }.map { DimensionField($0) }
        guard let latest else { return }
        (metric, direction) = (latest.objective.metric, latest.objective.direction)
    }

    public var script: Script { job.script }
    public var varied: [DimensionField] { dimensions.filter(\.isVaried) }

    // MARK: Checking

    /// Everything that is wrong, by field: `space.depth`, `objective.metric`, `trials`, …
    public var objections: [String: String] {
        let varied = Set(varied.map { Self.prefix + $0.name })
        let ofJob = job.objections.filter { !varied.contains($0.key) }
        return refused.merging(ofJob) { $1 }.merging(ownObjections) { $1 }
    }

    private var ownObjections: [String: String] {
        let names = Set(varied.map(\.name))
        var found: [String: String] = [:]
        for (field, objection) in job.ownObjections where !names.contains(field.replacing(Self.prefix, with: "")) {
            found[field] = objection
        }
        for field in varied {
            if let objection = field.objection(in: strategy) { found["space.\(field.name)"] = objection }
        }
        if let objection = spaceObjection { found["space"] = objection }
        if metric.wholeMatch(of: /[A-Za-z][A-Za-z0-9_.\/-]{0,63}/) == nil {
            found["objective.metric"] = "must be the name of a metric: a letter, then letters, digits and _./-"
        }
        if let objection = trialsObjection { found["trials"] = objection }
        if Self.whole(atOnce, 1...100) == nil { found["at_once"] = "must be a whole number from 1 to 100" }
        if !seed.isEmpty, Self.whole(seed, 0...4_294_967_295) == nil {
            found["seed"] = "must be a whole number from 0 to 4294967295"
        }
        return found
    }

    /// What the agent said of a dimension, or of one of its bounds.
    public func refusal(of field: DimensionField) -> String? {
        let path = "space.\(field.name)"
        if let message = refused[path] { return message }
        return refused.first { $0.key.hasPrefix("\(path).") }.map { "\($0.key.dropFirst(path.count + 1)) \($0.value)" }
    }

    public var isValid: Bool { ownObjections.isEmpty }

    /// How many points the grid has; nil where it is no grid, or its space is not right yet.
    public var gridPoints: Int? {
        guard strategy == .grid, !varied.isEmpty else { return nil }
        return SpaceCheck.gridPoints(varied.map { ($0.dimension, $0.parameter) })
    }

    private var spaceObjection: String? {
        let fixed = job.request.hyperparameters.keys
        let names = varied.map(\.name)
        if names.isEmpty { return "must have a parameter that differs: choose one to vary" }
        if names.count > SpaceCheck.mostDimensions { return "must be \(SpaceCheck.mostDimensions) parameters at most" }
        var seen: [String: String] = [:]
        for name in names + fixed.filter({ !names.contains($0) }).sorted() {
            if let other = seen.updateValue(name, forKey: name.uppercased()) {
                return "\(other) and \(name) would both be HP_\(name.uppercased())"
            }
        }
        guard let points = gridPoints, points > Sweep.mostTrials else { return nil }
        let told = points < SpaceCheck.many ? String(points) : "more than \(SpaceCheck.many)"
        return "has \(told) points; a sweep has at most \(Sweep.mostTrials) trials"
    }

    private var trialsObjection: String? {
        if trials.isEmpty { return strategy == .grid ? nil : "is missing: only a grid has a number of its own" }
        guard let count = Self.whole(trials, 1...Sweep.mostTrials) else {
            return "must be a whole number from 1 to \(Sweep.mostTrials)"
        }
        guard let points = gridPoints, count > points else { return nil }
        return "must be at most \(points), which the grid has"
    }

    private static let prefix = "hyperparameters."

    private static func whole(_ text: String, _ bounds: ClosedRange<Int>) -> Int? {
        Int(text).flatMap { bounds.contains($0) ? $0 : nil }
    }

    /// Shows what the agent refused beside its fields.
    public func show(_ problems: [FieldProblem]) {
        let own = Set(SweepRequest.CodingKeys.allCases.map(\.stringValue))
        func isOwn(_ problem: FieldProblem) -> Bool {
            own.contains(String(problem.field.split(separator: ".").first ?? ""))
        }
        job.show(problems.filter { !isOwn($0) })
        refused = [:]
        for problem in problems where isOwn(problem) { refused[problem.field] = problem.message }
    }

    /// Forgets the agent's objections, before another attempt.
    public func clearRefusals() {
        refused = [:]
        job.clearRefusals()
    }

    // MARK: What is sent

    public var request: SweepRequest {
        var common = job.request
        for field in varied { common.hyperparameters[field.name] = nil }
        return SweepRequest(
            job: common, space: Dictionary(varied.map { ($0.name, $0.dimension) }) { $1 }, strategy: strategy,
            objective: SweepObjective(metric: metric, direction: direction), trials: Int(trials), atOnce: Int(atOnce),
            pruner: pruner, seed: Int(seed))
    }
}

/// What differs where a sweep is run again. An empty field is as it was.
public struct SweepChanges: Hashable, Sendable {
    public var trials = ""
    public var atOnce = ""
    public var seed = ""
    public var name = ""

    public init() {}

    /// What is wrong, by field.
    public var objections: [String: String] {
        var found: [String: String] = [:]
        func check(_ field: String, _ text: String, _ bounds: ClosedRange<Int>) {
            guard !text.isEmpty, Int(text).map(bounds.contains) != true else { return }
            found[field] = "must be a whole number from \(bounds.lowerBound) to \(bounds.upperBound)"
        }
        check("trials", trials, 1...Sweep.mostTrials)
        check("at_once", atOnce, 1...100)
        check("seed", seed, 0...4_294_967_295)
        if name.unicodeScalars.count > 128 { found["name"] = "must have 128 characters at most" }
        if let objection = ParameterCheck.text(name) { found["name"] = objection }
        return found
    }

    public var request: SweepRerun {
        SweepRerun(trials: Int(trials), atOnce: Int(atOnce), seed: Int(seed), name: name.isEmpty ? nil : name)
    }
}

extension Sweep {
    /// What is wrong with a number of trials that the sweep is to have in all.
    public func objection(toExtending text: String) -> String? {
        guard let count = Int(text), count > trials, count <= Self.mostTrials else {
            return "must be a whole number from \(trials + 1) to \(Self.mostTrials)"
        }
        return nil
    }
}
