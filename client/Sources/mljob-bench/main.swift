import Foundation
import MLJobKit

// What the app's largest views cost. Prints one line for each figure, and exits with 1 where one is over its bound.
//
//     swift run -c release mljob-bench

/// A log needs an agent; nothing is asked of it here.
struct NoTransport: HTTPTransport {
    func open(_ request: HTTPRequest) async throws -> (HTTPResponse, ByteStream) { throw TransportError.invalidated }
    func invalidate() {}
}

func say(_ text: String) { FileHandle.standardOutput.write(Data("\(text)\n".utf8)) }

/// Whether a figure was over its bound.
@MainActor enum Verdict { static var isOver = false }

@MainActor func report(_ what: String, _ value: Double, _ unit: String, atMost bound: Double) {
    let figure = value.formatted(.number.precision(.fractionLength(value < 10 ? 2 : 0)))
    say(
        "\(value <= bound ? "ok  " : "OVER") \(what): \(figure) \(unit) (at most \(Int(bound) == 0 ? "\(bound)" : "\(Int(bound))"))"
    )
    if value > bound { Verdict.isOver = true }
}

/// A member of /proc/self/status, in MiB.
func memory(_ member: String) -> Double {
    let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("\(member):") }
    return (line?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Double($0) } ?? 0) / 1024
}

/// What the calling thread worked, whatever else the machine does.
func milliseconds(_ deed: () -> Void) -> Double {
    func now() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return Double(time.tv_sec) * 1e3 + Double(time.tv_nsec) / 1e6
    }
    let began = now()
    deed()
    return now() - began
}

func seconds(since began: ContinuousClock.Instant) -> Double {
    let spent = began.duration(to: .now).components
    return Double(spent.seconds) + Double(spent.attoseconds) / 1e18
}

@MainActor func benchLog() async {
    let agent = Agent(transport: NoTransport())
    let log = LogModel(agent: agent, job: "bench")
    let start = Date(timeIntervalSince1970: 1_767_225_600)
    let before = memory("VmRSS")
    var (worst, total) = (0.0, 0.0)
    for batch in 0..<500 {
        let rows: [LogRow.Content] = (1...2000).map {
            let number = batch * 2000 + $0
            let text = "epoch \(number / 100) step \(number) loss 0.\(number % 9973) accuracy 0.\(number % 997) lr 1e-3"
            return .line(LogLine(number: number, time: start + Double(number) / 1000, text: text))
        }
        let spent = milliseconds { log.append(rows) }
        (worst, total) = (max(worst, spent), total + spent)
    }
    report("1,000,000 lines, memory in all", memory("VmRSS"), "MiB", atMost: 150)
    say("     of which the log: \(Int(memory("VmRSS") - before)) MiB, all batches together: \(Int(total)) ms")
    report("the slowest batch of 2,000 lines on the main actor", worst, "ms", atMost: 8)
    for text in ["accuracy 0.99", "not there", "ÄNDERUNG", "step"] {
        let began = ContinuousClock.now
        log.search = text
        await log.searched()
        let what = "search of all lines for “\(text)”, \(log.matches.count) found"
        report(what, seconds(since: began), "s", atMost: 0.5)
    }
    let more: [LogRow.Content] = (0..<2000).map {
        .line(LogLine(number: 1_000_000 + $0, time: start + 2000, text: "one more step"))
    }
    report("a batch while a search has a million matches", milliseconds { log.append(more) }, "ms", atMost: 8)
    let screen = milliseconds { for place in 500_000..<500_100 { _ = log.row(at: place).text } }
    report("a screen of 100 rows", screen, "ms", atMost: 8)
    report("memory with a search of a million matches", memory("VmRSS"), "MiB", atMost: 200)
}

/// A list of 10,000 jobs, each with labels and hyperparameters.
@MainActor func benchList() throws {
    let list = JobList(agent: Agent(transport: NoTransport()))
    for number in 0..<10_000 {
        let text = """
            {"job_id":"job\(number)","status":"\(number % 50 == 0 ? "RUNNING" : "COMPLETED")","container_id":"","owner":"alice",
             "script_name":"train_churn_model.py","hyperparameters":{"n_estimators":"\(number)","depth":"3"},
             "labels":{"team":"churn"},"name":"Experiment \(number)",
             "created_at":"\(AgentTime.format(Date(timeIntervalSince1970: Double(number * 7919 % 10_000))))"}
            """
        list.insert(try JSONDecoder.ofAgent().decode(Job.self, from: Data(text.utf8)))
    }
    report("10,000 jobs in order", milliseconds { _ = list.visible }, "ms", atMost: 50)
    let changed = list.visible[5000]
    report(
        "a change among 10,000 jobs",
        milliseconds {
            list.insert(changed)
            _ = list.visible
        }, "ms", atMost: 8)
    list.search = "e"
    report("10,000 jobs searched for the first time", milliseconds { _ = list.visible }, "ms", atMost: 250)
    list.search = "experiment 77"
    report("10,000 jobs searched again", milliseconds { _ = list.visible }, "ms", atMost: 100)
    report("the same list drawn again", milliseconds { _ = list.visible }, "ms", atMost: 8)
}

try benchList()
await benchLog()
exit(await MainActor.run { Verdict.isOver } ? 1 : 0)
