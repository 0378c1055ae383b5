import AppKit
import MLJobKit

/// Keeps the table as the model is, and tells the model that its user has scrolled away from the end.
@MainActor
final class LogTableCoordinator: NSObject, NSTableViewDataSource, NSTableViewDelegate {
    private enum Column {
        static let number = NSUserInterfaceItemIdentifier("number")
        static let text = NSUserInterfaceItemIdentifier("text")
    }

    private let log: LogModel
    private let selection: LogSelection
    private let table = LogTableView(frame: .zero)
    private let scroll = NSScrollView(frame: .zero)
    private let texts = NSTableColumn(identifier: Column.text)
    private let style = LogStyle()
    private var shown = LogExtent()
    private var target: Int?
    private var scrolling: Observer?

    init(log: LogModel, selection: LogSelection) {
        self.log = log
        self.selection = selection
        super.init()
    }

    // MARK: The view

    func makeView() -> NSScrollView {
        let numbers = NSTableColumn(identifier: Column.number)
        numbers.width = style.width(ofCharacters: 8)
        numbers.resizingMask = []
        texts.width = style.width(ofCharacters: 200)
        texts.resizingMask = []
        table.addTableColumn(numbers)
        table.addTableColumn(texts)
        table.headerView = nil
        table.style = .plain
        table.rowHeight = style.rowHeight
        table.intercellSpacing = NSSize(width: 8, height: 0)
        table.allowsMultipleSelection = true
        table.dataSource = self
        table.delegate = self
        table.onCopy = { [log, selection] in Pasteboard.copy(selection.text(of: log)) }
        table.setAccessibilityLabel("Log, a row for each line")
        scroll.documentView = table
        scroll.hasVerticalScroller = true
        scroll.hasHorizontalScroller = true
        // Only a person's scrolling is told so, not the table's own.
        scrolling = Observer(of: NSScrollView.didLiveScrollNotification, from: scroll) { [weak self] in
            self?.hasScrolled()
        }
        return scroll
    }

    private func hasScrolled() {
        log.isFollowing = scroll.documentVisibleRect.maxY >= table.bounds.maxY - 2 * style.rowHeight
    }

    // MARK: Updates

    func update(target: Int?) {
        let now = LogExtent(count: log.count, trimmed: log.trimmed, filter: log.filter, search: log.search)
        let before = shown
        shown = now
        if now.onlyAppends(to: before) { table.noteNumberOfRowsChanged() } else { table.reloadData() }
        let gone = now.trimmed - before.trimmed
        // What was selected has other places now.
        if gone > 0 { table.selectRowIndexes(IndexSet(), byExtendingSelection: false) }
        if log.isFollowing {
            if now.count > 0 { table.scrollRowToVisible(now.count - 1) }
        } else if gone > 0 {
            keepPlace(after: gone)
        }
        if let target, target != self.target, let place = log.place(of: target) { show(place) }
        self.target = target
    }

    /// Rows went at the beginning: what is on the screen stays where it is.
    private func keepPlace(after gone: Int) {
        let visible = scroll.documentVisibleRect
        let up = CGFloat(gone) * style.rowHeight
        table.scroll(NSPoint(x: visible.minX, y: max(visible.minY - up, 0)))
    }

    private func show(_ place: Int) {
        table.selectRowIndexes(IndexSet(integer: place), byExtendingSelection: false)
        table.scrollRowToVisible(place)
    }

    // MARK: Rows

    func numberOfRows(in tableView: NSTableView) -> Int { shown.count }

    func tableViewSelectionDidChange(_ notification: Notification) { selection.rows = table.selectedRowIndexes }

    func tableView(_ tableView: NSTableView, viewFor tableColumn: NSTableColumn?, row: Int) -> NSView? {
        guard let column = tableColumn, row < log.count else { return nil }
        let line = log.row(at: row)
        let cell = cell(column.identifier)
        if column.identifier == Column.number {
            cell.attributedStringValue = style.number(of: line)
        } else {
            let text = style.text(of: line, marking: log.search)
            widen(for: text.length)
            cell.attributedStringValue = text
        }
        return cell
    }

    private func cell(_ identifier: NSUserInterfaceItemIdentifier) -> NSTextField {
        if let used = table.makeView(withIdentifier: identifier, owner: nil) as? NSTextField { return used }
        let cell = NSTextField(labelWithString: "")
        cell.identifier = identifier
        cell.lineBreakMode = .byClipping
        return cell
    }

    /// Later: the table asks for rows while it is laying out its columns.
    private func widen(for characters: Int) {
        let needed = style.width(ofCharacters: characters)
        guard needed > texts.width else { return }
        Task { texts.width = max(texts.width, needed) }
    }
}

/// What the table shows: whether rows were only added says how much it has to be drawn anew.
struct LogExtent: Equatable {
    var count = 0
    var trimmed = 0
    var filter = LogModel.Filter()
    var search = ""

    func onlyAppends(to before: LogExtent) -> Bool {
        count >= before.count && trimmed == before.trimmed && filter == before.filter && search == before.search
    }
}
