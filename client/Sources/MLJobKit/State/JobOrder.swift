import Foundation

/// The order of a list of jobs: a table's comparators, and then the id.
///
/// `KeyPathComparator` takes 2 µs a comparison, which makes 0.3 s of 10,000 jobs; so the values of the columns that the
/// app has are read once for each job, and compared as what they are.
struct JobOrder {
    private struct Column {
        let key: (Job) -> SortKey
        let isReverse: Bool
    }

    private let columns: [Column]
    /// Of columns that are not known here.
    private let others: [KeyPathComparator<Job>]

    init(_ comparators: [KeyPathComparator<Job>]) {
        let known = comparators.map { comparator in
            Self.key(of: comparator.keyPath).map { Column(key: $0, isReverse: comparator.order == .reverse) }
        }
        let isKnown = known.allSatisfy { $0 != nil }
        columns = isKnown ? known.compactMap { $0 } : []
        others = isKnown ? [] : comparators
    }

    private static func key(of path: PartialKeyPath<Job>) -> ((Job) -> SortKey)? {
        switch path {
        case \Job.createdAt: { .number($0.createdAt.timeIntervalSince1970) }
        case \Job.sortableStart: { .number($0.sortableStart.timeIntervalSince1970) }
        case \Job.sortableEnd: { .number($0.sortableEnd.timeIntervalSince1970) }
        case \Job.sortableStatus: { .number(Double($0.sortableStatus)) }
        case \Job.priority: { .number(Double($0.priority)) }
        case \Job.title: { .text($0.title) }
        case \Job.scriptName: { .text($0.scriptName) }
        case \Job.owner: { .text($0.owner) }
        case \Job.sortableHost: { .text($0.sortableHost) }
        default: nil
        }
    }

    func sorted(_ jobs: [Job]) -> [Job] {
        guard others.isEmpty else { return jobs.sorted { isBefore($0, $1) } }
        if let column = columns.first, let numbers = Self.numbers(jobs.map(column.key)) {
            return jobs.indices.sorted {
                numbers[$0] == numbers[$1]
                    ? isBefore(jobs[$0], jobs[$1]) : (numbers[$0] < numbers[$1]) != column.isReverse
            }.map { jobs[$0] }
        }
        let keys = jobs.map { job in columns.map { $0.key(job) } }
        return jobs.indices.sorted { isBefore(jobs[$0], keys[$0], jobs[$1], keys[$1]) }.map { jobs[$0] }
    }

    /// Times and numbers, which most orders begin with, compare fastest as what they are.
    private static func numbers(_ keys: [SortKey]) -> [Double]? {
        let numbers = keys.compactMap { if case .number(let number) = $0 { number } else { nil } }
        return numbers.count == keys.count ? numbers : nil
    }

    func isBefore(_ one: Job, _ two: Job) -> Bool {
        for comparator in others {
            let result = comparator.compare(one, two)
            if result != .orderedSame { return result == .orderedAscending }
        }
        return isBefore(one, columns.map { $0.key(one) }, two, columns.map { $0.key(two) })
    }

    private func isBefore(_ one: Job, _ oneKeys: [SortKey], _ two: Job, _ twoKeys: [SortKey]) -> Bool {
        for (at, column) in columns.enumerated() {
            let result = oneKeys[at].compare(twoKeys[at])
            if result != .orderedSame { return (result == .orderedAscending) != column.isReverse }
        }
        return one.id < two.id
    }
}

/// What a search looks at, made once for each state of a job.
struct JobIndex {
    private var texts: [Job.ID: (revision: Int, text: String)] = [:]

    /// Whether the job has each word in its name, script, id, owner, status, labels or hyperparameters.
    mutating func has(_ job: Job, _ words: [String]) -> Bool {
        let text = text(of: job)
        return words.allSatisfy { text.contains($0) }
    }

    private mutating func text(of job: Job) -> String {
        if let known = texts[job.id], known.revision == job.revision { return known.text }
        let text = Self.folded(job.searchable.joined(separator: "\n"))
        texts[job.id] = (job.revision, text)
        return text
    }

    mutating func forget(_ id: Job.ID) { texts[id] = nil }

    static func words(_ search: String) -> [String] {
        search.split(whereSeparator: \.isWhitespace).map { folded(String($0)) }
    }

    /// Without case and accents.
    static func folded(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 < 0x80 }) { return text.lowercased() }
        return text.folding(options: [.caseInsensitive, .diacriticInsensitive], locale: nil)
    }
}
