// Outlines.
@MainActor @preconcurrency
public protocol Shape: Sendable, View {
    nonisolated func path(in rect: CGRect) -> Path
}
extension Shape {
    public var body: _ShapeView<Self, ForegroundStyle> { declared() }
    public func stroke<S>(_ content: S, style: StrokeStyle) -> some View where S: ShapeStyle { EmptyView() }
    public func stroke<S>(_ content: S, lineWidth: CGFloat = 1) -> some View where S: ShapeStyle { EmptyView() }
    public func fill<S>(_ content: S, style: FillStyle = FillStyle()) -> some View where S: ShapeStyle { EmptyView() }
}

public struct _ShapeView<Content, Style>: _PrimitiveView where Content: Shape, Style: ShapeStyle {}
public struct ForegroundStyle: ShapeStyle {
    public init() {}
}

@MainActor @preconcurrency
public protocol InsettableShape: Shape {}

public struct Path: Equatable, @unchecked Sendable {
    public init() {}
    public init(_ callback: (inout Path) -> Void) {}
    public mutating func move(to p: CGPoint) {}
    public mutating func addLine(to p: CGPoint) {}
}

public struct StrokeStyle: Equatable, Sendable {
    public init(
        lineWidth: CGFloat = 1, lineCap: CGLineCap = .butt, lineJoin: CGLineJoin = .miter, miterLimit: CGFloat = 10,
        dash: [CGFloat] = [CGFloat](), dashPhase: CGFloat = 0
    ) {}
}

public struct FillStyle: Equatable, Sendable {
    public init(eoFill: Bool = false, antialiased: Bool = true) {}
}

public struct Circle: InsettableShape {
    public init() {}
    nonisolated public func path(in rect: CGRect) -> Path { declared() }
}

public struct Capsule: InsettableShape {
    public init(style: RoundedCornerStyle = .continuous) {}
    nonisolated public func path(in rect: CGRect) -> Path { declared() }
}

public struct RoundedRectangle: InsettableShape {
    public init(cornerRadius: CGFloat, style: RoundedCornerStyle = .continuous) {}
    nonisolated public func path(in rect: CGRect) -> Path { declared() }
}

public struct Rectangle: InsettableShape {
    public init() {}
    nonisolated public func path(in rect: CGRect) -> Path { declared() }
}

public enum RoundedCornerStyle: Sendable {
    case circular
    case continuous
}

extension View {
    public func clipShape<S>(_ shape: S, style: FillStyle = FillStyle()) -> some View where S: Shape { self }
    public func contentShape<S>(_ shape: S, eoFill: Bool = false) -> some View where S: Shape { self }
}
