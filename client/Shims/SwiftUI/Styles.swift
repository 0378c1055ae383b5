// Colours and materials.
public protocol ShapeStyle: Sendable {}

public struct Color: Hashable, Sendable {
    public enum RGBColorSpace: Sendable {
        case sRGB
        case sRGBLinear
        case displayP3
    }
    public init(
        _ colorSpace: Color.RGBColorSpace = .sRGB, red: Double, green: Double, blue: Double, opacity: Double = 1
    ) {}
    public static let red: Color = declared()
    public static let orange: Color = declared()
    public static let yellow: Color = declared()
    public static let green: Color = declared()
    public static let blue: Color = declared()
    public static let purple: Color = declared()
    public static let teal: Color = declared()
    public static let gray: Color = declared()
    public static let clear: Color = declared()
    public static let primary: Color = declared()
    public static let secondary: Color = declared()
    public static var accentColor: Color { declared() }
    public func opacity(_ opacity: Double) -> Color { self }
}
extension Color: ShapeStyle {}
extension ShapeStyle where Self == Color {
    public static var red: Color { declared() }
    public static var orange: Color { declared() }
    public static var yellow: Color { declared() }
    public static var green: Color { declared() }
    public static var blue: Color { declared() }
    public static var purple: Color { declared() }
    public static var teal: Color { declared() }
    public static var gray: Color { declared() }
    public static var clear: Color { declared() }
}

public struct HierarchicalShapeStyle: ShapeStyle {
    public static let primary: HierarchicalShapeStyle = declared()
    public static let secondary: HierarchicalShapeStyle = declared()
    public static let tertiary: HierarchicalShapeStyle = declared()
    public static let quaternary: HierarchicalShapeStyle = declared()
}
extension ShapeStyle where Self == HierarchicalShapeStyle {
    public static var primary: HierarchicalShapeStyle { declared() }
    public static var secondary: HierarchicalShapeStyle { declared() }
    public static var tertiary: HierarchicalShapeStyle { declared() }
    public static var quaternary: HierarchicalShapeStyle { declared() }
}

public struct TintShapeStyle: ShapeStyle {
    public init() {}
}
extension ShapeStyle where Self == TintShapeStyle {
    public static var tint: TintShapeStyle { declared() }
}

public struct BackgroundStyle: ShapeStyle {
    public init() {}
}
extension ShapeStyle where Self == BackgroundStyle {
    public static var background: BackgroundStyle { declared() }
}

public struct Material: Sendable {
    public static let bar: Material = declared()
}
extension Material: ShapeStyle {}
extension ShapeStyle where Self == Material {
    public static var bar: Material { declared() }
    public static var regularMaterial: Material { declared() }
    public static var thinMaterial: Material { declared() }
}

extension View {
    public func foregroundStyle<S>(_ style: S) -> some View where S: ShapeStyle { self }
    public func tint<S>(_ tint: S?) -> some View where S: ShapeStyle { self }
    public func tint(_ tint: Color?) -> some View { self }
    public func background<S>(
        _ style: S, ignoresSafeAreaEdges edges: Edge.Set = .all
    ) -> some View where S: ShapeStyle {
        self
    }
    public func background<S, T>(
        _ style: S, in shape: T, fillStyle: FillStyle = FillStyle()
    ) -> some View where S: ShapeStyle, T: InsettableShape {
        self
    }
    public func background<V>(
        alignment: Alignment = .center, @ViewBuilder content: () -> V
    ) -> some View where V: View {
        self
    }
    public func overlay<V>(
        alignment: Alignment = .center, @ViewBuilder content: () -> V
    ) -> some View where V: View {
        self
    }
    public func preferredColorScheme(_ colorScheme: ColorScheme?) -> some View { self }
}
