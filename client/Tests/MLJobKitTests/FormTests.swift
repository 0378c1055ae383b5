import Foundation
import Testing

@testable import MLJobKit

@Suite(.timeLimit(.minutes(5))) struct ParameterCheckTests {
    struct Verdict: Decodable {
        let parameter: Parameter
        let value: String
        let objection: String?
    }

    /// The agent's own verdicts, which `fixtures.py` writes.
    @Test func agreesWithTheAgent() throws {
        let verdicts = try JSONDecoder.ofAgent().decode([Verdict].self, from: Fixture.data("parameters.json"))
        #expect(verdicts.count > 400)
        for verdict in verdicts {
            #expect(
                ParameterCheck.objection(to: verdict.value, of: verdict.parameter) == verdict.objection,
                "\(verdict.parameter.type) \(verdict.value.debugDescription)")
        }
    }

    @Test func noValueHasControlCharactersOrIsTooLong() {
        let any = Parameter(name: "p")
        #expect(ParameterCheck.objection(to: "a\nb", of: any) == "must not contain control characters (found U+000A)")
        #expect(ParameterCheck.objection(to: String(repeating: "é", count: 4096), of: any) == nil)
        #expect(
            ParameterCheck.objection(to: String(repeating: "é", count: 4097), of: any)
                == "must have 4096 characters at most")
    }

    @Test func namesAreVariables() {
        #expect(ParameterCheck.name("n_estimators") == nil)
        for name in ["", "1a", "a-b", "ä", String(repeating: "a", count: 65)] {
            #expect(ParameterCheck.name(name) != nil)
        }
    }
}

@Suite(.timeLimit(.minutes(5))) struct QuantityTests {
    @Test(arguments: [
        ("2G", 2 << 30), ("512 MiB", 512 << 20), ("1.5g", 3 << 29), ("1024", 1024), ("0", 0), ("3 kb", 3072),
        ("2T", 2 << 40),
    ]) func sizes(_ text: String, _ bytes: Int) { #expect(Quantity.bytes(text) == bytes) }

    @Test(arguments: ["", "G", "-1G", "1X", "1 G G", "1e3", "9999999999999P"]) func noSizes(_ text: String) {
        #expect(Quantity.bytes(text) == nil)
    }

    @Test(arguments: [
        ("90", 90), ("90s", 90), ("1h30m", 5400), ("2 d", 172_800), ("5min", 300), ("1.5h", 5400), ("1d2h3m4s", 93_784),
    ])
    func times(_ text: String, _ seconds: Int) { #expect(Quantity.seconds(text) == seconds) }

    @Test(arguments: ["", "h", "-5", "5 weeks", "1h 30"]) func noTimes(_ text: String) {
        #expect(Quantity.seconds(text) == nil)
    }

    @Test func whatIsWrittenIsRead() {
        for seconds in [0, 1, 59, 60, 3600, 5400, 86_400, 93_784] {
            #expect(Quantity.seconds(Quantity.format(seconds: seconds)) == seconds)
        }
        #expect(Quantity.format(bytes: 2 << 30) == "2 GiB" && Quantity.format(bytes: 1_610_612_736) == "1.5 GiB")
        #expect(Quantity.format(bytes: 12) == "12 B")
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct ScriptFormTests {
    static let script = Script(
        name: "train.py",
        parameters: [
            Parameter(name: "depth", type: .integer, defaultValue: "3", minimum: 1, maximum: 10),
            Parameter(name: "rate", type: .number, minimum: 0, maximum: 1),
            Parameter(name: "criterion", defaultValue: "gini", choices: ["gini", "entropy"]),
            Parameter(name: "fast", type: .boolean), Parameter(name: "view", required: true),
            Parameter(name: "token", sensitive: true),
        ])

    func form() -> ScriptForm { ScriptForm(script: Self.script) }

    func set(_ form: ScriptForm, _ name: String, _ value: String) {
        guard let at = form.fields.firstIndex(where: { $0.name == name }) else {
            return #expect(Bool(false), "\(name)")
        }
        form.fields[at].value = value
    }

    @Test func eachParameterHasItsControl() {
        let controls = form().fields.map(\.control)
        #expect(controls == [.stepper(1...10), .slider(0...1), .menu(["gini", "entropy"]), .toggle, .text, .secret])
        #expect(ParameterField(Parameter(name: "n", type: .integer, minimum: 1, maximum: 1e6)).control == .text)
        #expect(ParameterField(Parameter(name: "n", type: .integer, minimum: 1)).control == .text)
    }

    @Test func defaultsAndBoundsAreSaid() {
        #expect(form().fields.map(\.summary) == ["default 3, 1 to 10", "0 to 1", "default gini", "", "required", ""])
        #expect(ParameterField(Parameter(name: "n", minimum: 1)).summary == "at least 1")
        #expect(ParameterField(Parameter(name: "n", maximum: 0.5)).summary == "at most 0.5")
    }

    @Test func onlyWhatIsTypedIsSent() throws {
        let form = form()
        #expect(form.objections == ["hyperparameters.view": "is required"] && !form.isValid)
        set(form, "view", "TRAINING")
        set(form, "depth", "4")
        #expect(form.isValid && form.fields[0].effectiveValue == "4" && form.fields[2].effectiveValue == "gini")
        #expect(
            form.request == JobRequest(scriptName: "train.py", hyperparameters: ["view": "TRAINING", "depth": "4"]))
    }

    @Test func allElseIsSentToo() {
        let form = ScriptForm(script: Script(name: "s.py"), ref: "v1.2")
        form.name = "A run"
        form.labels = [.init(key: "team", value: "churn")]
        form.limits.memory = "2 GiB"
        form.limits.runTime = "1h30m"
        form.limits.cpus = "0.5"
        form.priority = -3
        form.maxAttempts = 3
        form.retryOn = [.oomKill, .exitCode]
        #expect(form.isValid)
        #expect(
            form.request
                == JobRequest(
                    scriptName: "s.py", ref: "v1.2", name: "A run", labels: ["team": "churn"],
                    limits: Limits(memoryBytes: 2 << 30, cpus: 0.5, runTimeSeconds: 5400), priority: -3, maxAttempts: 3,
                    retryOn: [.exitCode, .oomKill]))
    }

    @Test func everyFieldIsChecked() {
        let form = ScriptForm(script: Script(name: "s.py", anyParameters: true), ref: "-x")
        form.fields = [
            ParameterField(name: "Depth", value: "1"), ParameterField(name: "depth", value: "1"),
            ParameterField(name: "1", value: ""),
        ]
        form.name = "a\u{7}"
        form.labels = [.init(key: "Team", value: "x"), .init(key: "ok", value: "a\nb")]
        form.limits.memory = "1 KiB"
        form.limits.cpus = "nan"
        form.limits.tasks = "0"
        form.limits.runTime = "31d"
        form.limits.grace = "soon"
        form.limits.artifactBytes = "1"
        form.limits.artifactFiles = "many"
        let expected: Set = [
            "hyperparameters", "hyperparameters.1", "ref", "name", "labels.Team", "labels.ok", "limits.memory_bytes",
            "limits.cpus", "limits.tasks", "limits.run_time_seconds", "limits.grace_seconds", "limits.artifact_bytes",
            "limits.artifact_files",
        ]
        #expect(Set(form.objections.keys) == expected)
        #expect(form.objections["hyperparameters"] == "Depth and depth would both be HP_DEPTH")
    }

    @Test func sizesTogetherAreBounded() {
        let form = ScriptForm(script: Script(name: "s.py", anyParameters: true))
        form.fields = (0..<9).map { ParameterField(name: "p\($0)", value: String(repeating: "x", count: 4000)) }
        #expect(form.objections["hyperparameters"] == "must have 32768 bytes at most, names and values together")
        form.fields = (0..<101).map { ParameterField(name: "p\($0)", value: "1") }
        #expect(form.objections["hyperparameters"] == "must be 100 at most")
        form.name = String(repeating: "x", count: 129)
        #expect(form.objections["name"] == "must have 128 characters at most")
    }

    @Test func theAgentsObjectionsStandBesideTheirFields() {
        let form = form()
        set(form, "view", "NONE")
        form.show([
            FieldProblem(field: "hyperparameters.view", message: "is no view"),
            FieldProblem(field: "ref", message: "is unknown"),
        ])
        #expect(form.objections == ["hyperparameters.view": "is no view", "ref": "is unknown"])
        set(form, "view", "TRAINING")
        #expect(form.objections == ["ref": "is unknown"])
        #expect(form.isValid, "one may try again: what is refused may be right by now")
        form.clearRefusals()
        #expect(form.isValid && form.objections.isEmpty)
    }

    // MARK: Rerun

    static let original = Sample.job(
        "abc", "FAILED",
        [
            "hyperparameters": ["depth": "3", "view": "T", "extra": "1"], "name": "A", "labels": ["a": "b"],
            "limits": ["memory_bytes": 2 << 30, "run_time_seconds": 60],
        ])

    @Test func aRerunBeginsWithWhatTheJobWasGiven() {
        let form = ScriptForm(rerun: Self.original, script: Self.script)
        #expect(form.fields.map(\.value) == ["3", "", "", "", "T", "", "1"] && form.fields.last?.isFree == true)
        #expect(form.name == "A" && form.limits.memory == "2 GiB" && form.limits.runTime == "1m")
        #expect(form.rerun.isEmpty && form.changes.isEmpty && form.isValid)
        #expect(form.labels.map(\.key) == ["a"])
    }

    @Test func aRerunSendsTheDifference() {
        let form = ScriptForm(rerun: Self.original, script: Self.script)
        set(form, "depth", "5")
        set(form, "criterion", "entropy")
        form.limits.memory = "4 GiB"
        form.limits.tasks = "9"
        form.maxAttempts = 2
        form.retryOn = [.timeout]
        form.name = "B"
        form.labels = [ScriptForm.Label(key: "a", value: "c")]
        #expect(
            form.rerun
                == RerunRequest(
                    name: "B", labels: ["a": "c"], hyperparameters: ["depth": "5", "criterion": "entropy"],
                    limits: Limits(memoryBytes: 4 << 30, tasks: 9),
                    maxAttempts: 2, retryOn: [.timeout]))
        #expect(
            form.changes.map { "\($0.field): \($0.before ?? "-") → \($0.after ?? "-")" } == [
                "criterion: - → entropy", "depth: 3 → 5", "memory: 2 GiB → 4 GiB", "tasks: - → 9", "name: A → B",
                "label a: b → c", "attempts: 1 → 2", "retry on: interrupted, start-failed → timeout",
            ])
        #expect(Set(form.changes.map(\.id)).count == 8)
    }

    @Test func aScriptThatIsGoneStillHasAForm() {
        let form = ScriptForm(rerun: Self.original, script: nil)
        #expect(form.fields.map(\.name) == ["depth", "extra", "view"] && form.script.name == "train.py")
        #expect(ScriptForm(script: Self.script).rerun.isEmpty && ScriptForm(script: Self.script).changes.isEmpty)
    }
}

@Suite(.timeLimit(.minutes(5))) struct JobCommandTests {
    @Test func aJobAsACommand() {
        let job = Sample.job(
            "abc", "COMPLETED",
            [
                "hyperparameters": ["view": "it's", "depth": "3"], "name": "A run", "labels": ["a": "b"],
                "max_attempts": 2,
                "retry_on": ["timeout"],
                "limits": ["memory_bytes": 1024, "cpus": 0.5, "run_time_seconds": 90, "grace_seconds": 5],
            ])
        #expect(
            job.command
                == "ml-job submit train.py -p depth=3 -p 'view=it'\\''s' --ref c0ffee --name 'A run' --label a=b "
                + "--memory 1024 --cpus 0.5 --time 1m30s --grace 5s --max-attempts 2 --retry-on timeout")
    }

    @Test func aRerunAsACommand() {
        #expect(JobCommand.rerun("abc", RerunRequest(hyperparameters: ["d": ""])) == "ml-job rerun abc -p d=")
        let named = RerunRequest(name: "a b", labels: ["k": "v"])
        #expect(JobCommand.rerun("abc", named) == "ml-job rerun abc --name 'a b' --label k=v")
        #expect(JobCommand.submit(JobRequest(scriptName: "s.py", priority: -1)) == "ml-job submit s.py --priority -1")
        let needs = JobRequest(
            scriptName: "s.py", after: ["a", "b"], inputs: ["m": RequestedInput(jobID: "a", path: "m x")])
        #expect(JobCommand.submit(needs) == "ml-job submit s.py --input 'm=a:m x' --after a --after b")
        let champion = JobRequest(scriptName: "s.py", inputs: ["m": RequestedInput(model: "churn", alias: "champion")])
        #expect(JobCommand.submit(champion) == "ml-job submit s.py --input m=model:churn@champion")
        #expect(JobCommand.quote("") == "''")
    }
}
