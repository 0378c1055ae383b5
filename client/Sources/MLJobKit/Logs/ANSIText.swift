import Foundation

/// One of a terminal's colours.
public enum ANSIColor: Sendable, Hashable {
    /// 0 to 7, 8 to 15 (bright), and the palette's others up to 255.
    case indexed(UInt8)
    case rgb(red: UInt8, green: UInt8, blue: UInt8)
}

public struct ANSIStyle: Sendable, Hashable {
    public var foreground: ANSIColor?
    public var background: ANSIColor?
    public var isBold = false
    public var isDim = false
    public var isItalic = false
    public var isUnderlined = false
    public var isStruckThrough = false
    public var isInverse = false

    public init() {}
}

/// A run of text in one style.
public struct ANSISpan: Sendable, Hashable {
    public let text: String
    public let style: ANSIStyle
}

/// What a line of a terminal looks like: colours, and of what was drawn over the last drawing. Whatever else could
/// drive a terminal, or deceive a reader, is written out. Colours end with their line.
public enum ANSIText {
    public static func plain(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: { isSpecial($0) }) else { return text }
        return spans(text).map(\.text).joined()
    }

    public static func spans(_ text: String) -> [ANSISpan] {
        guard text.unicodeScalars.contains(where: { isSpecial($0) }) else {
            return text.isEmpty ? [] : [ANSISpan(text: text, style: ANSIStyle())]
        }
        var parser = Parser()
        parser.run(text.unicodeScalars)
        return parser.spans
    }

    private static func isSpecial(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09: false
        case ..<0x20, 0x7f...0x9f, 0x061c, 0x200e...0x200f, 0x202a...0x202e, 0x2066...0x2069: true
        default: false
        }
    }

    private struct Parser {
        var spans: [ANSISpan] = []
        private var style = ANSIStyle()
        private var run = ""
        private var isRedrawn = false

        mutating func run(_ scalars: String.UnicodeScalarView) {
            var at = scalars.startIndex
            while at < scalars.endIndex {
                let scalar = scalars[at]
                at = scalars.index(after: at)
                switch scalar.value {
                case 0x0d: isRedrawn = true
                case 0x1b where at < scalars.endIndex && scalars[at] == "[":
                    at = sequence(scalars, from: scalars.index(after: at), escape: "^[[")
                default: draw(scalar)
                }
            }
            endRun()
        }

        /// What stands behind a carriage return replaces what is before it; with nothing behind it, nothing is lost.
        private mutating func draw(_ scalar: Unicode.Scalar) {
            if isRedrawn {
                spans = []
                run = ""
                isRedrawn = false
            }
            if !ANSIText.isSpecial(scalar) {
                run.unicodeScalars.append(scalar)
            } else if scalar.value < 0x20 {
                run += "^" + String(Unicode.Scalar(UInt8(scalar.value + 0x40)))
            } else if scalar.value == 0x7f {
                run += "^?"
            } else {
                let digits = String(scalar.value, radix: 16)
                run += "\\u" + String(repeating: "0", count: max(4 - digits.count, 0)) + digits
            }
        }

        private mutating func endRun() {
            if !run.isEmpty { spans.append(ANSISpan(text: run, style: style)) }
            run = ""
        }

        /// A control sequence (ECMA-48): of its kinds, those that set colours and clear a line have an effect.
        private mutating func sequence(
            _ scalars: String.UnicodeScalarView, from start: String.Index, escape: String
        ) -> String.Index {
            var at = start
            while at < scalars.endIndex, (0x20...0x3f).contains(scalars[at].value) { at = scalars.index(after: at) }
            guard at < scalars.endIndex, (0x40...0x7e).contains(scalars[at].value) else {
                for scalar in escape.unicodeScalars { draw(scalar) }
                return start
            }
            let parameters = String(scalars[start..<at])
            let next = scalars.index(after: at)
            switch scalars[at] {
            case "m" where parameters.allSatisfy { $0.isNumber || $0 == ";" || $0 == ":" }:
                endRun()
                style.apply(parameters)
            case "K": break  // the rest of the line is empty anyway
            default: for scalar in (escape + parameters + String(scalars[at])).unicodeScalars { draw(scalar) }
            }
            return next
        }
    }
}

extension ANSIStyle {
    /// Select graphic rendition: numbers between semicolons; none is 0.
    mutating func apply(_ parameters: String) {
        var codes = parameters.split(whereSeparator: { $0 == ";" || $0 == ":" }).map { Int($0) ?? 0 }[...]
        if codes.isEmpty { codes = [0] }
        while let code = codes.popFirst() {
            switch code {
            case 38: foreground = Self.color(&codes) ?? foreground
            case 48: background = Self.color(&codes) ?? background
            default: apply(code)
            }
        }
    }

    private mutating func apply(_ code: Int) {
        switch code {
        case 0: self = ANSIStyle()
        case 1: isBold = true
        case 2: isDim = true
        case 3: isItalic = true
        case 4: isUnderlined = true
        case 7: isInverse = true
        case 9: isStruckThrough = true
        case 22: (isBold, isDim) = (false, false)
        case 23: isItalic = false
        case 24: isUnderlined = false
        case 27: isInverse = false
        case 29: isStruckThrough = false
        case 30...37: foreground = .indexed(UInt8(code - 30))
        case 39: foreground = nil
        case 40...47: background = .indexed(UInt8(code - 40))
        case 49: background = nil
        case 90...97: foreground = .indexed(UInt8(code - 90 + 8))
        case 100...107: background = .indexed(UInt8(code - 100 + 8))
        default: break
        }
    }

    /// `5;N` or `2;R;G;B`.
    private static func color(_ codes: inout ArraySlice<Int>) -> ANSIColor? {
        switch codes.popFirst() {
        case 5: return codes.popFirst().flatMap { UInt8(exactly: $0) }.map(ANSIColor.indexed)
        case 2:
            guard let red = codes.popFirst(), let green = codes.popFirst(), let blue = codes.popFirst() else {
                return nil
            }
            return .rgb(red: UInt8(clamping: red), green: UInt8(clamping: green), blue: UInt8(clamping: blue))
        default: return nil
        }
    }
}
