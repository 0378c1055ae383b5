// What happens when: tasks, changes, keys, drops, menus.
extension View {
    public func task(
        priority: TaskPriority = .userInitiated, @_inheritActorContext _ action: @escaping @Sendable () async -> Void
    ) -> some View {
        self
    }
    public func task<T>(
        id value: T, priority: TaskPriority = .userInitiated,
        @_inheritActorContext _ action: @escaping @Sendable () async -> Void
    ) -> some View where T: Equatable {
        self
    }
    public func onAppear(perform action: (() -> Void)? = nil) -> some View { self }
    public func onDisappear(perform action: (() -> Void)? = nil) -> some View { self }
    public func onChange<V>(
        of value: V, initial: Bool = false, _ action: @escaping (_ oldValue: V, _ newValue: V) -> Void
    ) -> some View where V: Equatable {
        self
    }
    public func onChange<V>(
        of value: V, initial: Bool = false, _ action: @escaping () -> Void
    ) -> some View where V: Equatable {
        self
    }
    public func onSubmit(of triggers: SubmitTriggers = .text, _ action: @escaping (() -> Void)) -> some View { self }
    public func onOpenURL(perform action: @escaping (URL) -> Void) -> some View { self }
    public func onHover(perform action: @escaping (Bool) -> Void) -> some View { self }
    public func onTapGesture(count: Int = 1, perform action: @escaping () -> Void) -> some View { self }
    public func onExitCommand(perform action: (() -> Void)?) -> some View { self }
    public func focused(_ condition: FocusState<Bool>.Binding) -> some View { self }
    public func focused<Value>(
        _ binding: FocusState<Value>.Binding, equals value: Value
    ) -> some View where Value: Hashable {
        self
    }
    public func id<ID>(_ id: ID) -> some View where ID: Hashable { self }
    public func tag<V>(_ tag: V) -> some View where V: Hashable { self }
    public func badge(_ count: Int) -> some View { self }
    public func help(_ textKey: LocalizedStringKey) -> some View { self }
    public func help(_ text: Text) -> some View { self }
    @_disfavoredOverload
    public func help<S>(_ text: S) -> some View where S: StringProtocol { self }
    public func keyboardShortcut(_ key: KeyEquivalent, modifiers: EventModifiers = .command) -> some View { self }
    public func keyboardShortcut(_ shortcut: KeyboardShortcut) -> some View { self }
    public func allowsHitTesting(_ enabled: Bool) -> some View { self }
    public func animation<V>(_ animation: Animation?, value: V) -> some View where V: Equatable { self }
    public func draggable<T>(_ payload: @autoclosure @escaping () -> T) -> some View where T: Transferable { self }
    public func dropDestination<T>(
        for payloadType: T.Type = T.self, action: @escaping (_ items: [T], _ location: CGPoint) -> Bool,
        isTargeted: @escaping (Bool) -> Void = { _ in }
    ) -> some View where T: Transferable {
        self
    }
    public func contextMenu<MenuItems>(
        @ViewBuilder menuItems: () -> MenuItems
    ) -> some View where MenuItems: View {
        self
    }
    public func contextMenu<I, M>(
        forSelectionType itemType: I.Type = I.self, @ViewBuilder menu: @escaping (Set<I>) -> M,
        primaryAction: ((Set<I>) -> Void)? = nil
    ) -> some View where I: Hashable, M: View {
        self
    }
}

public struct SubmitTriggers: OptionSet, Sendable {
    public typealias RawValue = Int
    public let rawValue: SubmitTriggers.RawValue
    public init(rawValue: SubmitTriggers.RawValue) { self.rawValue = rawValue }
    public static let text: SubmitTriggers = declared()
    public static let search: SubmitTriggers = declared()
}

public struct KeyEquivalent: Sendable {
    public static let `return`: KeyEquivalent = declared()
    public static let escape: KeyEquivalent = declared()
    public static let space: KeyEquivalent = declared()
    public static let delete: KeyEquivalent = declared()
    public var character: Character
    public init(_ character: Character) { self.character = character }
}
extension KeyEquivalent: ExpressibleByExtendedGraphemeClusterLiteral {
    public init(extendedGraphemeClusterLiteral: Character) { character = extendedGraphemeClusterLiteral }
    public typealias ExtendedGraphemeClusterLiteralType = Character
    public typealias UnicodeScalarLiteralType = Character
}

public struct EventModifiers: OptionSet, Sendable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public static let shift: EventModifiers = declared()
    public static let control: EventModifiers = declared()
    public static let option: EventModifiers = declared()
    public static let command: EventModifiers = declared()
}

public struct KeyboardShortcut: Sendable {
    public static let defaultAction: KeyboardShortcut = declared()
    public static let cancelAction: KeyboardShortcut = declared()
    public init(_ key: KeyEquivalent, modifiers: EventModifiers = .command) {}
}

public struct Animation: Equatable, Sendable {}
extension Animation {
    public static let `default`: Animation = declared()
}
