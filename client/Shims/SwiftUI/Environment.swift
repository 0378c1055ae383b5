// What a view is told of its surroundings, and what the focused window tells the menus.
import Observation

@propertyWrapper
public struct Environment<Value>: DynamicProperty {
    public init(_ keyPath: KeyPath<EnvironmentValues, Value>) {}
    public var wrappedValue: Value { declared() }
}
extension Environment {
    public init(_ objectType: Value.Type) where Value: AnyObject, Value: Observable {}
    public init<T>(_ objectType: T.Type) where Value == T?, T: AnyObject, T: Observable {}
}

public struct EnvironmentValues {
    public init() {}
}
extension EnvironmentValues {
    public var dismiss: DismissAction { declared() }
    public var openWindow: OpenWindowAction { declared() }
    public var openURL: OpenURLAction {
        get { declared() }
        set {}
    }
    public var scenePhase: ScenePhase {
        get { declared() }
        set {}
    }
    public var colorScheme: ColorScheme {
        get { declared() }
        set {}
    }
    public var accessibilityReduceMotion: Bool { declared() }
    public var accessibilityDifferentiateWithoutColor: Bool { declared() }
    public var isEnabled: Bool {
        get { declared() }
        set {}
    }
}

@MainActor @preconcurrency
public struct DismissAction {
    public func callAsFunction() {}
}

@MainActor @preconcurrency
public struct OpenWindowAction {
    public func callAsFunction<D>(value: D) where D: Decodable, D: Encodable, D: Hashable {}
    public func callAsFunction(id: String) {}
    public func callAsFunction<D>(id: String, value: D) where D: Decodable, D: Encodable, D: Hashable {}
}

@MainActor @preconcurrency
public struct OpenURLAction {
    public func callAsFunction(_ url: URL) {}
}

public enum ScenePhase: Comparable {
    case background
    case inactive
    case active
}

public enum ColorScheme: CaseIterable, Sendable {
    case light
    case dark
}

@propertyWrapper
public struct FocusedValue<Value>: DynamicProperty {
    public init(_ keyPath: KeyPath<FocusedValues, Value?>) {}
    public var wrappedValue: Value? { declared() }
}

public protocol FocusedValueKey {
    associatedtype Value
}

public struct FocusedValues {
    public subscript<Key>(key: Key.Type) -> Key.Value? where Key: FocusedValueKey {
        get { declared() }
        set {}
    }
}

extension View {
    public func environment<V>(_ keyPath: WritableKeyPath<EnvironmentValues, V>, _ value: V) -> some View { self }
    public func environment<T>(_ object: T?) -> some View where T: AnyObject, T: Observable { self }
    public func focusedSceneValue<T>(
        _ keyPath: WritableKeyPath<FocusedValues, T?>, _ value: T
    ) -> some View {
        self
    }
    public func focusedSceneValue<T>(
        _ keyPath: WritableKeyPath<FocusedValues, T?>, _ value: T?
    ) -> some View {
        self
    }
}
