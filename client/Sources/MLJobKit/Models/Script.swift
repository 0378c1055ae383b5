import Foundation

/// How a script reads a hyperparameter; on the wire each is a string.
public struct ParameterType: OpenString {
    public let rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public static let string = ParameterType(rawValue: "string")
    public static let integer = ParameterType(rawValue: "integer")
    public static let number = ParameterType(rawValue: "number")
    public static let boolean = ParameterType(rawValue: "boolean")
}

/// A hyperparameter as the script declares it.
public struct Parameter: Codable, Hashable, Sendable, Identifiable {
    public var id: String { name }
    public let name: String
    public let type: ParameterType
    public let description: String
    public let defaultValue: String?
    public let minimum: Double?
    public let maximum: Double?
    public let choices: [String]
    public let required: Bool
    /// Its value is not for the audit, and not for a screen that others see.
    public let sensitive: Bool

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name, type, description
        case defaultValue = "default"
        case minimum, maximum, choices, required, sensitive
    }

    public init(
        name: String, type: ParameterType = .string, description: String = "", defaultValue: String? = nil,
        minimum: Double? = nil, maximum: Double? = nil, choices: [String] = [], required: Bool = false,
        sensitive: Bool = false
    ) {
        self.name = name
        self.type = type
        self.description = description
        self.defaultValue = defaultValue
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices
        self.required = required
        self.sensitive = sensitive
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            name: try members.decode(String.self, forKey: .name),
            type: try members.value(.type, or: .string),
            description: try members.value(.description, or: ""),
            defaultValue: try members.decodeIfPresent(String.self, forKey: .defaultValue),
            minimum: try members.decodeIfPresent(Double.self, forKey: .minimum),
            maximum: try members.decodeIfPresent(Double.self, forKey: .maximum),
            choices: try members.value(.choices, or: []),
            required: try members.value(.required, or: false),
            sensitive: try members.value(.sensitive, or: false)
        )
    }
}

/// A script that can be run. One without a declaration takes any parameters.
public struct Script: Codable, Hashable, Sendable, Identifiable {
    public var id: String { name }
    public let name: String
    public let description: String
    public let sha256: String
    public let parameters: [Parameter]
    public let anyParameters: Bool
    public let secrets: [String]
    public let network: String
    public let limits: Limits
    /// The files that its job must leave.
    public let artifacts: [String]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case name = "script_name"
        case description, sha256, parameters
        case anyParameters = "any_parameters"
        case secrets, network, limits, artifacts
    }

    public init(
        name: String, description: String = "", sha256: String = "", parameters: [Parameter] = [],
        anyParameters: Bool = false, secrets: [String] = [], network: String = "none", limits: Limits = Limits(),
        artifacts: [String] = []
    ) {
        self.name = name
        self.description = description
        self.sha256 = sha256
        self.parameters = parameters
        self.anyParameters = anyParameters
        self.secrets = secrets
        self.network = network
        self.limits = limits
        self.artifacts = artifacts
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        self.init(
            name: try members.decode(String.self, forKey: .name),
            description: try members.value(.description, or: ""),
            sha256: try members.value(.sha256, or: ""),
            parameters: try members.value(.parameters, or: []),
            anyParameters: try members.value(.anyParameters, or: false),
            secrets: try members.value(.secrets, or: []),
            network: try members.value(.network, or: "none"),
            limits: try members.value(.limits, or: Limits()),
            artifacts: try members.value(.artifacts, or: [])
        )
    }
}

/// A path that a list leaves out, and why: `reason` follows "it".
public struct LeftOut: Codable, Hashable, Sendable, Identifiable {
    public var id: String { path }
    public let path: String
    public let reason: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case path, reason
    }
}

/// What can be run at `commit`, and the first of the `leftOutCount` paths that cannot.
public struct ScriptList: Codable, Sendable {
    public let commit: String
    public let scripts: [Script]
    public let leftOut: [LeftOut]
    public let leftOutCount: Int

    enum CodingKeys: String, CodingKey, CaseIterable {
        case commit, scripts
        case leftOut = "left_out"
        case leftOutCount = "left_out_count"
    }

    public init(from decoder: any Decoder) throws {
        let members = try decoder.container(keyedBy: CodingKeys.self)
        commit = try members.decode(String.self, forKey: .commit)
        scripts = try members.decode([Script].self, forKey: .scripts)
        leftOut = try members.value(.leftOut, or: [])
        leftOutCount = try members.value(.leftOutCount, or: 0)
    }
}
