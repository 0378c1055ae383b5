// Words and pictures.
public struct LocalizedStringKey: Equatable, ExpressibleByStringInterpolation {
    public init(_ value: String) {}
    public init(stringLiteral value: String) {}
    public init(stringInterpolation: LocalizedStringKey.StringInterpolation) {}
    public struct StringInterpolation: StringInterpolationProtocol {
        public init(literalCapacity: Int, interpolationCount: Int) {}
        public mutating func appendLiteral(_ literal: String) {}
        public mutating func appendInterpolation(_ string: String) {}
        public mutating func appendInterpolation<T>(_ value: T) where T: _FormatSpecifiable {}
        public mutating func appendInterpolation<F>(
            _ input: F.FormatInput, format: F
        ) where F: FormatStyle, F.FormatInput: Equatable, F.FormatOutput == String {}
        public mutating func appendInterpolation(_ text: Text) {}
    }
}

public protocol _FormatSpecifiable: Equatable {}
extension Int: _FormatSpecifiable {}
extension Double: _FormatSpecifiable {}

public struct Text: Equatable, Sendable {
    public init(verbatim content: String) {}
    public init<S>(_ content: S) where S: StringProtocol {}
    public init(
        _ key: LocalizedStringKey, tableName: String? = nil, bundle: Bundle? = nil, comment: StaticString? = nil
    ) {}
    public init(_ attributedContent: AttributedString) {}
    public init<F>(_ input: F.FormatInput, format: F)
    where F: FormatStyle, F.FormatInput: Equatable, F.FormatOutput == String {}
    public init(_ date: Date, style: Text.DateStyle) {}
    public struct DateStyle: Sendable {
        public static let time: Text.DateStyle = declared()
        public static let date: Text.DateStyle = declared()
        public static let relative: Text.DateStyle = declared()
        public static let timer: Text.DateStyle = declared()
    }
    public enum TruncationMode: Sendable {
        case head
        case tail
        case middle
    }
    public struct Scale: Sendable, Hashable {
        public static let `default`: Text.Scale = declared()
        public static let secondary: Text.Scale = declared()
    }
}
extension Text {
    public static func + (lhs: Text, rhs: Text) -> Text { lhs }
    public func foregroundStyle<S>(_ style: S) -> Text where S: ShapeStyle { self }
    public func font(_ font: Font?) -> Text { self }
    public func fontWeight(_ weight: Font.Weight?) -> Text { self }
    public func bold() -> Text { self }
    public func italic() -> Text { self }
    public func monospaced(_ isActive: Bool = true) -> Text { self }
    public func monospacedDigit() -> Text { self }
    public func strikethrough(_ isActive: Bool = true, color: Color? = nil) -> Text { self }
}

public struct Image: Equatable, Sendable {
    public init(systemName: String) {}
    public enum Scale: Sendable {
        case small
        case medium
        case large
    }
}

public struct Font: Hashable, Sendable {
    public static let largeTitle: Font = declared()
    public static let title: Font = declared()
    public static let title2: Font = declared()
    public static let title3: Font = declared()
    public static let headline: Font = declared()
    public static let subheadline: Font = declared()
    public static let body: Font = declared()
    public static let callout: Font = declared()
    public static let footnote: Font = declared()
    public static let caption: Font = declared()
    public static let caption2: Font = declared()
    public func monospaced() -> Font { self }
    public func monospacedDigit() -> Font { self }
    public func weight(_ weight: Font.Weight) -> Font { self }
    public func bold() -> Font { self }
    public static func system(
        _ style: Font.TextStyle, design: Font.Design? = nil, weight: Font.Weight? = nil
    ) -> Font {
        declared()
    }
    public enum TextStyle: Hashable, Sendable {
        case largeTitle
        case title
        case title2
        case title3
        case headline
        case subheadline
        case body
        case callout
        case footnote
        case caption
        case caption2
    }
    public enum Design: Hashable, Sendable {
        case `default`
        case serif
        case rounded
        case monospaced
    }
    public struct Weight: Hashable, Sendable {
        public static let regular: Font.Weight = declared()
        public static let medium: Font.Weight = declared()
        public static let semibold: Font.Weight = declared()
        public static let bold: Font.Weight = declared()
    }
}

public enum TextAlignment: Hashable, CaseIterable, Sendable {
    case leading
    case center
    case trailing
}

extension View {
    public func font(_ font: Font?) -> some View { self }
    public func bold(_ isActive: Bool = true) -> some View { self }
    public func fontWeight(_ weight: Font.Weight?) -> some View { self }
    public func monospaced(_ isActive: Bool = true) -> some View { self }
    public func monospacedDigit() -> some View { self }
    public func lineLimit(_ number: Int?) -> some View { self }
    public func lineLimit(_ limit: ClosedRange<Int>) -> some View { self }
    public func truncationMode(_ mode: Text.TruncationMode) -> some View { self }
    public func multilineTextAlignment(_ alignment: TextAlignment) -> some View { self }
    public func textSelection<S>(_ selectability: S) -> some View where S: TextSelectability { self }
    public func imageScale(_ scale: Image.Scale) -> some View { self }
    public func symbolRenderingMode(_ mode: SymbolRenderingMode?) -> some View { self }
}

public protocol TextSelectability {
    static var allowsSelection: Bool { get }
}
extension TextSelectability where Self == EnabledTextSelectability {
    public static var enabled: EnabledTextSelectability { declared() }
}
public struct EnabledTextSelectability: TextSelectability {
    public static let allowsSelection: Bool = true
}

public struct SymbolRenderingMode: Sendable {
    public static let monochrome: SymbolRenderingMode = declared()
    public static let multicolor: SymbolRenderingMode = declared()
    public static let hierarchical: SymbolRenderingMode = declared()
    public static let palette: SymbolRenderingMode = declared()
}
