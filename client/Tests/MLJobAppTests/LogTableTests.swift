import MLJobKit
import Testing

@testable import MLJobApp

/// How much of the log's table is drawn anew.
struct LogTableTests {
    @Test func moreRowsAreOnlyAdded() {
        #expect(LogExtent(count: 5).onlyAppends(to: LogExtent(count: 3)))
        #expect(LogExtent(count: 3).onlyAppends(to: LogExtent(count: 3)))
    }

    @Test func fewerRowsAreDrawnAnew() {
        #expect(!LogExtent(count: 2).onlyAppends(to: LogExtent(count: 3)))
    }

    @Test func rowsThatHaveOtherPlacesAreDrawnAnew() {
        #expect(!LogExtent(count: 5, trimmed: 2).onlyAppends(to: LogExtent(count: 5)))
        var filter = LogModel.Filter()
        filter.showsSystem = false
        #expect(!LogExtent(count: 5, filter: filter).onlyAppends(to: LogExtent(count: 5)))
        #expect(!LogExtent(count: 5, search: "auc").onlyAppends(to: LogExtent(count: 5)))
    }
}
