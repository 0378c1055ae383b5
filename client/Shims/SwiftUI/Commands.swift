// The menu bar.
@MainActor @preconcurrency
public protocol Commands {
    associatedtype Body: Commands
    @CommandsBuilder @MainActor @preconcurrency var body: Self.Body { get }
}
extension Never: Commands {}

/// Commands of SwiftUI's own, which have no body. Only here: SwiftUI's counterpart is not public.
public protocol _PrimitiveCommands: Commands where Body == Never {}
extension _PrimitiveCommands {
    public var body: Never { return declared() }
}

@resultBuilder
public struct CommandsBuilder {
    public static func buildExpression<Content>(_ content: Content) -> Content where Content: Commands { content }
    public static func buildBlock() -> EmptyCommands { declared() }
    public static func buildBlock<C>(_ content: C) -> C where C: Commands { content }
}

public struct EmptyCommands: _PrimitiveCommands {
    public init() {}
}

public struct CommandGroupPlacement: Sendable {
    public static let newItem: CommandGroupPlacement = declared()
    public static let saveItem: CommandGroupPlacement = declared()
    public static let sidebar: CommandGroupPlacement = declared()
    public static let textEditing: CommandGroupPlacement = declared()
    public static let help: CommandGroupPlacement = declared()
}

public struct CommandGroup<Content>: _PrimitiveCommands where Content: View {
    public init(before group: CommandGroupPlacement, @ViewBuilder addition: () -> Content) {}
    public init(after group: CommandGroupPlacement, @ViewBuilder addition: () -> Content) {}
    public init(replacing group: CommandGroupPlacement, @ViewBuilder addition: () -> Content) {}
}

public struct CommandMenu<Content>: _PrimitiveCommands where Content: View {
    public init(_ nameKey: LocalizedStringKey, @ViewBuilder content: () -> Content) {}
}

public struct SidebarCommands: _PrimitiveCommands {
    public init() {}
}

public struct ToolbarCommands: _PrimitiveCommands {
    public init() {}
}
