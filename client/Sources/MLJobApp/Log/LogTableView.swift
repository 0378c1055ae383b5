import AppKit

#if os(macOS)
    /// A table that ⌘C copies from.
    final class LogTableView: NSTableView {
        var onCopy: (() -> Void)?

        /// The Edit menu sends it to whichever view has the focus.
        @objc func copy(_ sender: Any?) { onCopy?() }
    }
#else
    /// Where there is no Objective-C, nothing sends actions to views.
    final class LogTableView: NSTableView {
        var onCopy: (() -> Void)?
    }
#endif
