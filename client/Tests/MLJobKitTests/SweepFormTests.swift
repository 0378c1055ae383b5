import Foundation
import Testing

@testable import MLJobKit

@Suite(.timeLimit(.minutes(5))) struct SpaceCheckTests {
    struct Verdict: Decodable {
        let parameter: Parameter?
        let dimension: SweepDimension
        let strategy: SweepStrategy
        let objection: String?
    }

    /// The agent's own verdicts, which `fixtures.py` writes.
    @Test func agreesWithTheAgent() throws {
        let verdicts = try JSONDecoder.ofAgent().decode([Verdict].self, from: Fixture.data("spaces.json"))
        #expect(verdicts.count > 300)
        for verdict in verdicts {
            let objection = SpaceCheck.objection(to: verdict.dimension, of: verdict.parameter, in: verdict.strategy)
            #expect(objection == verdict.objection, "\(verdict)")
        }
    }

    @Test func valuesAreBounded() {
        func objection(_ values: [String]) -> String? {
            SpaceCheck.objection(to: SweepDimension(values: values), of: nil, in: .tpe)
        }
        #expect(
            objection([]) == "must have at least one value" && objection(["a", "a"]) == "must not have a value twice")
        #expect(objection((0...100).map(String.init)) == "must have 100 values at most")
        #expect(objection(["a\n"]) == "has a\n, which must not contain control characters (found U+000A)")
    }

    @Test func stepsAreCountedInDecimals() throws {
        func points(_ low: Double, _ high: Double, _ step: Double?) throws -> Int {
            try SpaceCheck.points(of: SweepDimension(type: .integer, low: low, high: high, step: step))
        }
        #expect(try points(0, 1, 0.1) == 11 && points(1, 3, nil) == 3 && points(0, 0.35, 0.1) == 4)
        #expect(try points(0, 1e15, nil) == SpaceCheck.many)
        #expect(SpaceCheck.gridPoints([(SweepDimension(low: 3, high: 1), nil)]) == nil)
    }
}

@MainActor @Suite(.timeLimit(.minutes(5))) struct SweepFormTests {
    func form() -> SweepForm {
        let form = SweepForm(script: ScriptFormTests.script)
        form.metric = "auc"
        return form
    }

    func vary(_ form: SweepForm, _ name: String, _ change: (inout DimensionField) -> Void = { _ in }) {
        guard let at = form.dimensions.firstIndex(where: { $0.name == name }) else {
            return #expect(Bool(false), "\(name)")
        }
        form.dimensions[at].isVaried = true
        change(&form.dimensions[at])
    }

    @Test func eachParameterThatIsNoSecretMayBeVaried() {
        let form = form()
        #expect(form.dimensions.map(\.name) == ["depth", "rate", "criterion", "fast", "view"])
        #expect(form.dimensions.map(\.kind) == [.range, .range, .values, .values, .values])
        #expect(form.dimensions.map(\.mayBeRange) == [true, true, false, false, false])
        #expect(form.dimensions.map(\.choices.count) == [0, 0, 2, 2, 0] && form.dimensions[0].declaredHigh == "10")
        #expect(form.dimensions[0].summary == "1 to 10" && form.dimensions[2].summary == "gini, entropy")
    }

    @Test func onlyWhatIsTypedIsSent() {
        let form = form()
        vary(form, "depth") { ($0.low, $0.isLogarithmic) = ("2", true) }
        vary(form, "rate")
        vary(form, "criterion") { $0.chosen = ["entropy"] }
        vary(form, "view") { $0.values = "A, B ,," }
        form.job.fields[0].value = "7"
        form.job.name = "A search"
        form.pruner = .median
        form.seed = "3"
        #expect(form.isValid && form.dimensions[0].summary == "2 to 10, logarithmic")
        let space = [
            "depth": SweepDimension(low: 2, log: true), "rate": SweepDimension(),
            "criterion": SweepDimension(values: ["entropy"]), "view": SweepDimension(values: ["A", "B"]),
        ]
        #expect(
            form.request
                == SweepRequest(
                    job: JobRequest(scriptName: "train.py", name: "A search"), space: space, strategy: .tpe,
                    objective: SweepObjective(metric: "auc", direction: .maximize), trials: 60, atOnce: 4,
                    pruner: .median, seed: 3))
    }

    @Test func theObjectiveOfTheLastSweepIsOffered() {
        let latest = Sample.sweep("a", "COMPLETED", ["objective": ["metric": "loss", "direction": "minimize"]])
        let form = SweepForm(script: ScriptFormTests.script, latest: latest)
        #expect(form.metric == "loss" && form.direction == .minimize)
    }

    @Test func everyFieldIsChecked() {
        let form = SweepForm(script: Script(name: "s.py", anyParameters: true))
        form.dimensions = [DimensionField(name: "a"), DimensionField(name: "A"), DimensionField(name: "1")]
        form.dimensions[0].low = "x"
        form.dimensions[1].kind = .values
        (form.trials, form.atOnce, form.seed) = ("0", "101", "-1")
        let expected: Set = ["space.a", "space.A", "space.1", "space", "objective.metric", "trials", "at_once", "seed"]
        #expect(Set(form.objections.keys) == expected)
        #expect(form.objections["space.a"] == "must have a low that is a number")
        #expect(form.objections["space"] == "a and A would both be HP_A")
        form.dimensions[0].low = ""
        form.dimensions[0].step = "-1"
        #expect(form.objections["space.a"] == "must have a step above 0")
        form.dimensions[0].type = .integer
        (form.dimensions[0].low, form.dimensions[0].high, form.dimensions[0].step) = ("1", "9", "2")
        #expect(form.objections["space.a"] == nil && form.dimensions[0].dimension.type == .integer)
        #expect(form.dimensions[0].summary == "1 to 9 in steps of 2")
        form.dimensions = []
        #expect(form.objections["space"] == "must have a parameter that differs: choose one to vary")
        form.dimensions = (0..<21).map { DimensionField(name: "p\($0)") }
        #expect(form.objections["space"] == "must be 20 parameters at most")
    }

    @Test func aRequiredParameterMayBeVariedInstead() {
        let form = form()
        vary(form, "depth")
        #expect(form.objections == ["hyperparameters.view": "is required"])
        vary(form, "view") { $0.values = "A" }
        #expect(form.isValid)
    }

    @Test func aGridHasANumberOfItsOwn() {
        let form = SweepForm(script: Script(name: "s.py", parameters: [Parameter(name: "n", type: .integer)]))
        form.metric = "auc"
        vary(form, "n") { ($0.low, $0.high) = ("1", "12") }
        form.trials = ""
        #expect(form.objections["trials"] == "is missing: only a grid has a number of its own")
        form.strategy = .grid
        #expect(form.isValid && form.gridPoints == 12 && form.request.trials == nil)
        form.trials = "13"
        #expect(form.objections["trials"] == "must be at most 12, which the grid has")
        vary(form, "n") { $0.high = "2000" }
        #expect(form.objections["space"] == "has 2000 points; a sweep has at most 1000 trials")
        vary(form, "n") { $0.high = "9e15" }
        #expect(form.objections["space"] == "has more than 1000000000 points; a sweep has at most 1000 trials")
    }

    @Test func theAgentsObjectionsStandBesideTheirFields() {
        let form = form()
        vary(form, "depth")
        vary(form, "view") { $0.values = "A" }
        form.show([
            FieldProblem(field: "hyperparameters.rate", message: "is odd"),
            FieldProblem(field: "space.depth", message: "has 1"),
        ])
        #expect(form.objections == ["hyperparameters.rate": "is odd", "space.depth": "has 1"] && !form.isValid)
        form.job.fields[1].value = "0.5"
        #expect(form.objections == ["space.depth": "has 1"] && form.isValid)
        form.clearRefusals()
        #expect(form.objections.isEmpty)
        form.show([
            FieldProblem(field: "name", message: "is odd"), FieldProblem(field: "limits.cpus", message: "is much"),
            FieldProblem(field: "space.depth.low", message: "is low"),
            FieldProblem(field: "trials", message: "are many"),
        ])
        #expect(
            form.job.objections["name"] == "is odd" && form.job.objections["limits.cpus"] == "is much",
            "which its sections show")
        #expect(form.objections.count == 4 && form.objections["trials"] == "are many")
        #expect(form.refusal(of: form.dimensions[0]) == "low is low" && form.isValid)
    }

    @Test func whatChangesInARerunIsChecked() {
        var changes = SweepChanges()
        #expect(changes.objections.isEmpty && changes.request == SweepRerun())
        (changes.trials, changes.atOnce, changes.seed, changes.name) = ("9", "2", "1", "B")
        #expect(changes.objections.isEmpty && changes.request == SweepRerun(trials: 9, atOnce: 2, seed: 1, name: "B"))
        (changes.trials, changes.atOnce, changes.seed) = ("1001", "0", "x")
        changes.name = String(repeating: "x", count: 129)
        #expect(Set(changes.objections.keys) == ["trials", "at_once", "seed", "name"])
        changes.name = "\u{7}"
        #expect(changes.objections["name"] == "must not contain control characters (found U+0007)")
    }

    @Test func aSweepIsExtendedToMore() {
        let sweep = Sample.sweep("a", "RUNNING", ["trials": 60])
        #expect(sweep.objection(toExtending: "61") == nil && sweep.objection(toExtending: "1000") == nil)
        for text in ["60", "1001", "", "x"] {
            #expect(sweep.objection(toExtending: text) == "must be a whole number from 61 to 1000")
        }
    }

    // MARK: On the way

    @Test func aSubmissionIsKeptUntilItIsAccepted() async throws {
        let scratch = try Scratch()
        let transport = ScriptedTransport { request, count in
            if count == 0 { throw TransportError.unreachable("down") }
            return .json(Sample.sweepJSON(request.target == "/sweeps" ? "new" : "again"), status: 202)
        }
        func outbox() -> Outbox { Outbox(agent: Agent(transport), file: scratch.file("outbox.json")) }
        let form = form()
        vary(form, "depth")
        form.job.name = "A search"
        #expect(try await outbox().send(.sweep(form.request)) == nil)
        let second = outbox()
        #expect(second.entries.map(\.title) == ["A search"])
        var accepted: [String] = []
        second.onAccepted = { _, one in accepted.append(one.id) }
        await second.flush()
        #expect(second.entries.isEmpty && accepted == ["new"])
        #expect(Set(transport.requests.map { $0.headers["Idempotency-Key"] }).count == 1)
        let body = try #require(transport.requests.last?.body)
        #expect(try JSONDecoder.ofAgent().decode(SweepRequest.self, from: body) == form.request)
        let again = try await second.send(.rerunSweep("q4x7k2m5ab3v", SweepRerun(trials: 9)))
        #expect(again?.sweep?.id == "again" && again?.job == nil)
        #expect(Outbox.Entry(.rerunSweep("q4x7k2m5ab3v", SweepRerun())).title == "rerun of q4x7k2m5")
    }
}
