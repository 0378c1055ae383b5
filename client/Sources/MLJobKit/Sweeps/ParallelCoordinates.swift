import Foundation

/// A sweep's trials as lines over one axis for each hyperparameter and one for the objective: everything but the drawing.
public struct ParallelCoordinates: Hashable, Sendable {
    /// A vertical axis, from 0 at the bottom to 1.
    public struct Axis: Identifiable, Hashable, Sendable {
        public var id: String { name }
        public let name: String
        public let scale: Scale

        /// What stands beside the axis: its ends, or each of its words.
        public var labels: [Label] {
            switch scale {
            case .linear(let low, let high), .logarithmic(let low, let high):
                let ends: [Double] = low < high ? [low, high] : [low]
                return ends.map { Label(text: ParameterCheck.format($0), at: scale.place($0)) }
            case .words(let words):
                return words.indices.map { Label(text: words[$0], at: Scale.place($0, of: words.count)) }
            }
        }
    }

    public struct Label: Identifiable, Hashable, Sendable {
        public var id: String { text }
        public let text: String
        public let at: Double
    }

    public enum Scale: Hashable, Sendable {
        case linear(Double, Double)
        case logarithmic(Double, Double)
        case words([String])

        /// Where a number is, from 0 to 1; in the middle of an axis of one number.
        func place(_ number: Double) -> Double {
            switch self {
            case .linear(let low, let high): Self.share(number, low, high)
            case .logarithmic(let low, let high): Self.share(log(number), log(low), log(high))
            case .words: 0.5
            }
        }

        /// Where a value is, as a script reads it; nil where it has no place.
        func place(_ text: String) -> Double? {
            if case .words(let words) = self {
                return words.firstIndex(of: text).map { Self.place($0, of: words.count) }
            }
            guard let at = Double(text).map(place), at.isFinite else { return nil }
            return at
        }

        static func place(_ index: Int, of count: Int) -> Double {
            count > 1 ? Double(index) / Double(count - 1) : 0.5
        }

        private static func share(_ number: Double, _ low: Double, _ high: Double) -> Double {
            low < high ? min(max((number - low) / (high - low), 0), 1) : 0.5
        }
    }

    /// Where a line crosses an axis.
    public struct Point: Identifiable, Hashable, Sendable {
        public var id: String { axis }
        public let axis: String
        public let at: Double
    }

    public struct Line: Identifiable, Hashable, Sendable {
        public let id: Job.ID
        public let trial: Int
        /// At least two.
        public let points: [Point]
        /// From 0, the worst, to 1, the best, by rank; nil for a trial without one.
        public let quality: Double?
        public let isBest: Bool
        public let isSelected: Bool
        /// What VoiceOver says: all values of the trial.
        public let words: String
    }

    /// How many lines a person can see through.
    public static let most = 200

    public let axes: [Axis]
    /// The better ones last, above the others; what is selected above all.
    public let lines: [Line]
    /// Trials that would have a line, beyond the best ones.
    public let leftOut: Int

    public init(_ sweep: Sweep, rows: [TrialRow], selected: Set<TrialRow.ID> = []) {
        let names = sweep.dimensionNames
        var axes = names.enumerated().map { at, name in
            Axis(name: name, scale: Self.scale(of: sweep.space[name], rows.map { $0.value(at) }))
        }
        let values = rows.compactMap(\.trial.value)
        if let low = values.min(), let high = values.max() {
            let metric = sweep.objective.metric
            let name = names.contains(metric) ? "\(metric) (objective)" : metric
            axes.append(Axis(name: name, scale: .linear(low, high)))
        }
        let ranked = rows.count { $0.rank != nil }
        let lines = rows.compactMap { row in
            Self.line(row, names: names, axes: axes, ranked: ranked, isSelected: selected.contains(row.id))
        }
        let shown = lines.sorted(by: Self.isBehind).suffix(Self.most)
        self.axes = axes
        self.lines = Array(shown)
        leftOut = lines.count - shown.count
    }

    private static func isBehind(_ one: Line, _ other: Line) -> Bool {
        if one.isSelected != other.isSelected { return other.isSelected }
        let (low, high) = (one.quality ?? -1, other.quality ?? -1)
        return low == high ? one.trial > other.trial : low < high
    }

    private static func line(
        _ row: TrialRow, names: [String], axes: [Axis], ranked: Int, isSelected: Bool
    ) -> Line? {
        var points = zip(axes, row.values).compactMap { axis, text in
            axis.scale.place(text).map { Point(axis: axis.name, at: $0) }
        }
        var words = row.words(from: 0, names: names)
        if let value = row.trial.value, axes.count > names.count, let objective = axes.last {
            points.append(Point(axis: objective.name, at: objective.scale.place(value)))
            words += ", \(objective.name) \(ParameterCheck.format(value))"
        }
        guard points.count > 1 else { return nil }
        let quality = row.rank.map { Self.quality(of: $0, among: ranked) }
        return Line(
            id: row.id, trial: row.trial.trial, points: points, quality: quality, isBest: row.isBest,
            isSelected: isSelected, words: words)
    }

    private static func quality(of rank: Int, among count: Int) -> Double {
        count > 1 ? 1 - Double(rank) / Double(count - 1) : 1
    }

    /// The scale of a dimension: its own bounds; where the record has none, those of the values.
    private static func scale(of dimension: SweepDimension?, _ values: [String]) -> Scale {
        if let words = dimension?.values { return .words(words) }
        let numbers = values.compactMap(Double.init)
        guard let low = dimension?.low ?? numbers.min(), let high = dimension?.high ?? numbers.max() else {
            return .words(Array(Set(values)).sorted())
        }
        return dimension?.log == true && low > 0 ? .logarithmic(low, high) : .linear(low, high)
    }
}
