// What VoiceOver says.
public struct AccessibilityAttachmentModifier {}

public struct ModifiedContent<Content, Modifier> {}
extension ModifiedContent: View where Content: View {
    public typealias Body = Never
    public var body: Never { return fatalError() }
}

public struct AccessibilityChildBehavior: Hashable, Sendable {
    public static let ignore: AccessibilityChildBehavior = declared()
    public static let contain: AccessibilityChildBehavior = declared()
    public static let combine: AccessibilityChildBehavior = declared()
}

public struct AccessibilityTraits: Sendable {
    public static let isButton: AccessibilityTraits = declared()
    public static let isHeader: AccessibilityTraits = declared()
    public static let updatesFrequently: AccessibilityTraits = declared()
}

extension View {
    public func accessibilityLabel(_ labelKey: LocalizedStringKey) -> ModifiedContent<
        Self, AccessibilityAttachmentModifier
    > {
        declared()
    }
    public func accessibilityLabel(_ label: Text) -> ModifiedContent<Self, AccessibilityAttachmentModifier> {
        declared()
    }
    @_disfavoredOverload
    public func accessibilityLabel<S>(
        _ label: S
    ) -> ModifiedContent<Self, AccessibilityAttachmentModifier> where S: StringProtocol {
        declared()
    }
    public func accessibilityValue(_ valueKey: LocalizedStringKey) -> ModifiedContent<
        Self, AccessibilityAttachmentModifier
    > {
        declared()
    }
    @_disfavoredOverload
    public func accessibilityValue<S>(
        _ value: S
    ) -> ModifiedContent<Self, AccessibilityAttachmentModifier> where S: StringProtocol {
        declared()
    }
    public func accessibilityHint(_ hintKey: LocalizedStringKey) -> ModifiedContent<
        Self, AccessibilityAttachmentModifier
    > {
        declared()
    }
    public func accessibilityHidden(_ hidden: Bool) -> ModifiedContent<Self, AccessibilityAttachmentModifier> {
        declared()
    }
    public func accessibilityAddTraits(
        _ traits: AccessibilityTraits
    ) -> ModifiedContent<Self, AccessibilityAttachmentModifier> {
        declared()
    }
    public func accessibilityElement(children: AccessibilityChildBehavior = .ignore) -> some View { self }
    public func accessibilityAction(
        named nameKey: LocalizedStringKey, _ handler: @escaping () -> Void
    ) -> ModifiedContent<Self, AccessibilityAttachmentModifier> {
        declared()
    }
}
