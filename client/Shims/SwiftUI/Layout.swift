// Where things go.
public enum Edge: Int8, CaseIterable, Sendable {
    case top
    case leading
    case bottom
    case trailing
    public struct Set: OptionSet, Sendable {
        public typealias Element = Edge.Set
        public let rawValue: Int8
        public init(rawValue: Int8) { self.rawValue = rawValue }
        public static let top: Edge.Set = declared()
        public static let leading: Edge.Set = declared()
        public static let bottom: Edge.Set = declared()
        public static let trailing: Edge.Set = declared()
        public static let all: Edge.Set = declared()
        public static let horizontal: Edge.Set = declared()
        public static let vertical: Edge.Set = declared()
    }
}

public enum HorizontalEdge: Int8, CaseIterable, Codable, Sendable {
    case leading
    case trailing
}

public enum VerticalEdge: Int8, CaseIterable, Codable, Sendable {
    case top
    case bottom
}

public enum Axis: Int8, CaseIterable, Sendable {
    case horizontal
    case vertical
    public struct Set: OptionSet, Sendable {
        public typealias Element = Axis.Set
        public let rawValue: Int8
        public init(rawValue: Int8) { self.rawValue = rawValue }
        public static let horizontal: Axis.Set = declared()
        public static let vertical: Axis.Set = declared()
    }
}

public struct HorizontalAlignment: Equatable, Sendable {
    public static let leading: HorizontalAlignment = declared()
    public static let center: HorizontalAlignment = declared()
    public static let trailing: HorizontalAlignment = declared()
}

public struct VerticalAlignment: Equatable, Sendable {
    public static let top: VerticalAlignment = declared()
    public static let center: VerticalAlignment = declared()
    public static let bottom: VerticalAlignment = declared()
    public static let firstTextBaseline: VerticalAlignment = declared()
}

public struct Alignment: Equatable, Sendable {
    public static let center: Alignment = declared()
    public static let leading: Alignment = declared()
    public static let trailing: Alignment = declared()
    public static let top: Alignment = declared()
    public static let bottom: Alignment = declared()
    public static let topLeading: Alignment = declared()
    public static let topTrailing: Alignment = declared()
    public static let bottomLeading: Alignment = declared()
    public static let bottomTrailing: Alignment = declared()
}

public struct HStack<Content>: _PrimitiveView where Content: View {
    public init(
        alignment: VerticalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content
    ) {}
}

public struct VStack<Content>: _PrimitiveView where Content: View {
    public init(
        alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil, @ViewBuilder content: () -> Content
    ) {}
}

public struct ZStack<Content>: _PrimitiveView where Content: View {
    public init(alignment: Alignment = .center, @ViewBuilder content: () -> Content) {}
}

public struct Grid<Content>: _PrimitiveView where Content: View {
    public init(
        alignment: Alignment = .center, horizontalSpacing: CGFloat? = nil, verticalSpacing: CGFloat? = nil,
        @ViewBuilder content: () -> Content
    ) {}
}

public struct GridRow<Content>: _PrimitiveView where Content: View {
    public init(alignment: VerticalAlignment? = nil, @ViewBuilder content: () -> Content) {}
}

public struct HSplitView<Content>: _PrimitiveView where Content: View {
    public init(@ViewBuilder content: () -> Content) {}
}

public struct VSplitView<Content>: _PrimitiveView where Content: View {
    public init(@ViewBuilder content: () -> Content) {}
}

public struct Spacer {
    public init(minLength: CGFloat? = nil) {}
}
extension Spacer: _PrimitiveView {}

public struct Divider: _PrimitiveView {
    public init() {}
}

extension View {
    public func padding(_ edges: Edge.Set = .all, _ length: CGFloat? = nil) -> some View { self }
    public func padding(_ length: CGFloat) -> some View { self }
    public func frame(
        width: CGFloat? = nil, height: CGFloat? = nil, alignment: Alignment = .center
    ) -> some View {
        self
    }
    public func frame(
        minWidth: CGFloat? = nil, idealWidth: CGFloat? = nil, maxWidth: CGFloat? = nil, minHeight: CGFloat? = nil,
        idealHeight: CGFloat? = nil, maxHeight: CGFloat? = nil, alignment: Alignment = .center
    ) -> some View {
        self
    }
    public func fixedSize(horizontal: Bool, vertical: Bool) -> some View { self }
    public func fixedSize() -> some View { self }
    public func layoutPriority(_ value: Double) -> some View { self }
    public func safeAreaInset<V>(
        edge: VerticalEdge, alignment: HorizontalAlignment = .center, spacing: CGFloat? = nil,
        @ViewBuilder content: () -> V
    ) -> some View where V: View {
        self
    }
    public func gridColumnAlignment(_ guide: HorizontalAlignment) -> some View { self }
    public func gridCellColumns(_ count: Int) -> some View { self }
    public func opacity(_ opacity: Double) -> some View { self }
}
