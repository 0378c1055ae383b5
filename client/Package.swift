// swift-tools-version: 6.0
import PackageDescription

let kit: [SwiftSetting] = [.swiftLanguageMode(.v6)]

var app = Target.executableTarget(name: "MLJobApp", dependencies: ["MLJobKit"], swiftSettings: kit)
var tests = Target.testTarget(
    name: "MLJobKitTests",
    dependencies: ["MLJobKit"],
    resources: [.copy("Fixtures")],
    swiftSettings: kit
)
var targets: [Target] = [.target(name: "MLJobKit", swiftSettings: kit)]

#if os(Linux)
    // Nothing of this is built on a Mac. URLSession cannot present a client certificate on Linux, so libcurl carries the
    // tests; and the shims declare what the views use of Apple's frameworks, so that they are type-checked.
    targets += [
        .systemLibrary(name: "CCurl", providers: [.apt(["libcurl4-openssl-dev"])]),
        .target(name: "MLJobKitCurl", dependencies: ["CCurl", "MLJobKit"], swiftSettings: kit),
        .executableTarget(name: "mljob-live", dependencies: ["MLJobKit", "MLJobKitCurl"], swiftSettings: kit),
        .executableTarget(name: "mljob-bench", dependencies: ["MLJobKit"], swiftSettings: kit),
    ]
    tests.dependencies += ["MLJobKitCurl"]

    // The shims, each with those that it imports. Written out: SwiftPM keeps what a manifest has said, whatever files come.
    let shims: KeyValuePairs<String, [String]> = [
        "FoundationGaps": [],
        "UniformTypeIdentifiers": [],
        "CoreTransferable": ["UniformTypeIdentifiers"],
        "AppKit": ["FoundationGaps"],
        "Network": [],
        "Security": ["FoundationGaps"],
        "UserNotifications": ["FoundationGaps"],
        "SwiftUI": ["AppKit", "CoreTransferable", "FoundationGaps", "UniformTypeIdentifiers"],
        "Charts": ["SwiftUI"],
        "QuickLook": ["SwiftUI"],
    ]
    for (shim, imports) in shims {
        targets.append(.target(name: shim, dependencies: imports.map { .target(name: $0) }, path: "Shims/\(shim)"))
        app.dependencies.append(.target(name: shim))
    }
#endif

let appTests = Target.testTarget(name: "MLJobAppTests", dependencies: ["MLJobApp", "MLJobKit"], swiftSettings: kit)
targets += [app, tests, appTests]

let package = Package(
    name: "mljob",
    platforms: [.macOS(.v14)],
    products: [.library(name: "MLJobKit", targets: ["MLJobKit"])],
    targets: targets
)
