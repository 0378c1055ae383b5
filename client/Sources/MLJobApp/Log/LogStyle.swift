import AppKit
import MLJobKit

/// How a line of a log looks. Colours are the system's, which follow light and dark.
@MainActor
struct LogStyle {
    /// A line of 48 KiB is one row: the screen gets its beginning, copying and saving the whole of it.
    static let longest = 2_000

    private let font = NSFont.monospacedSystemFont(ofSize: NSFont.smallSystemFontSize, weight: .regular)
    private let bold = NSFont.monospacedSystemFont(ofSize: NSFont.smallSystemFontSize, weight: .bold)

    var rowHeight: CGFloat { NSFont.smallSystemFontSize + 5 }

    /// A monospaced character is six tenths of its size wide.
    func width(ofCharacters count: Int) -> CGFloat {
        CGFloat(min(count, Self.longest) + 4) * NSFont.smallSystemFontSize * 0.62
    }

    func number(of row: LogRow) -> NSAttributedString {
        guard case .line(let line) = row.content else { return NSAttributedString(string: "") }
        return NSAttributedString(
            string: String(line.number), attributes: [.font: font, .foregroundColor: NSColor.tertiaryLabelColor])
    }

    /// The row's text in its own colours, with each occurrence of `search` marked.
    func text(of row: LogRow, marking search: String) -> NSAttributedString {
        let text = NSMutableAttributedString(string: "")
        switch row.content {
        case .gap(let gap):
            text.append(piece("— \(gap.sentence) —", [.foregroundColor: NSColor.systemOrange, .font: bold]))
        case .line(let line) where line.source == .job:
            for span in ANSIText.spans(String(line.text.prefix(Self.longest))) {
                text.append(piece(span.text, attributes(of: span.style)))
            }
        case .line(let line):
            let words = ANSIText.plain(String(line.text.prefix(Self.longest)))
            text.append(piece(words, [.foregroundColor: NSColor.secondaryLabelColor]))
        }
        if case .line(let line) = row.content, line.text.utf8.count > Self.longest {
            let size = line.text.utf8.count.formatted(.byteCount(style: .memory))
            text.append(piece(" … a line of \(size)", [.foregroundColor: NSColor.secondaryLabelColor]))
        }
        mark(search, in: text)
        return text
    }

    private func piece(_ text: String, _ attributes: [NSAttributedString.Key: Any]) -> NSAttributedString {
        NSAttributedString(string: text, attributes: [.font: font].merging(attributes) { $1 })
    }

    private func mark(_ search: String, in text: NSMutableAttributedString) {
        guard !search.isEmpty else { return }
        var rest = text.string.startIndex..<text.string.endIndex
        while let found = text.string.range(of: search, options: .caseInsensitive, range: rest) {
            text.addAttribute(
                .backgroundColor, value: NSColor.findHighlightColor, range: NSRange(found, in: text.string))
            rest = found.upperBound..<text.string.endIndex
        }
    }

    private func attributes(of style: ANSIStyle) -> [NSAttributedString.Key: Any] {
        var front = color(style.foreground) ?? NSColor.labelColor
        var back = color(style.background)
        if style.isInverse { (front, back) = (back ?? NSColor.textBackgroundColor, front) }
        if style.isDim { front = front.withAlphaComponent(0.6) }
        var attributes: [NSAttributedString.Key: Any] = [.font: style.isBold ? bold : font, .foregroundColor: front]
        if let back { attributes[.backgroundColor] = back }
        if style.isUnderlined { attributes[.underlineStyle] = NSUnderlineStyle.single.rawValue }
        if style.isStruckThrough { attributes[.strikethroughStyle] = NSUnderlineStyle.single.rawValue }
        return attributes
    }

    private func color(_ color: ANSIColor?) -> NSColor? {
        switch color {
        case nil: nil
        case .indexed(let number)?: Self.palette(Int(number))
        case .rgb(let red, let green, let blue)?:
            NSColor(
                srgbRed: CGFloat(red) / 255, green: CGFloat(green) / 255, blue: CGFloat(blue) / 255, alpha: 1)
        }
    }

    /// The terminal's 256: 16 names, a cube of six levels, and greys.
    static func palette(_ number: Int) -> NSColor {
        let named: [NSColor] = [
            .labelColor, .systemRed, .systemGreen, .systemYellow, .systemBlue, .systemPurple, .systemTeal,
            .secondaryLabelColor,
        ]
        switch number {
        case ..<16: return named[number % 8]
        case 16..<232:
            let levels: [CGFloat] = [0, 95, 135, 175, 215, 255].map { $0 / 255 }
            let cube = number - 16
            return NSColor(
                srgbRed: levels[cube / 36], green: levels[cube / 6 % 6], blue: levels[cube % 6], alpha: 1)
        default:
            let grey = CGFloat(min(number, 255) - 232) / 24
            return NSColor(srgbRed: grey, green: grey, blue: grey, alpha: 1)
        }
    }
}
