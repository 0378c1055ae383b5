import Foundation
import MLJobKit
import MLJobKitCurl

// The Kit against a real agent, from the first certificate to a renewed one. `client/live` starts it and says in the
// environment where the agent and its certificates are. Each check prints a line; the first that fails ends the program.

do {
    let live = try await Live(Environment())
    try await live.run()
    say("\(live.checks) checks passed")
} catch {
    say("FAIL \(error)")
    exit(1)
}
