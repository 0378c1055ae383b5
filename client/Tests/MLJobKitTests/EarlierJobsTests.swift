import Foundation
import Testing

@testable import MLJobKit

/// Inputs of a new job, and the jobs for which it waits.
@MainActor @Suite(.timeLimit(.minutes(5))) struct EarlierJobsTests {
    let form = ScriptForm(script: Script(name: "score.py"))

    func input(_ name: String, _ change: (inout InputField) -> Void) -> InputField {
        var input = InputField(name: name)
        change(&input)
        return input
    }

    @Test func inputsAndJobsAreSent() {
        form.earlier.inputs = [
            input("model") { ($0.jobID, $0.path) = ("k3v7q2m5x4ab", "churn model.joblib") },
            input("best") { ($0.source, $0.model, $0.alias) = (.model, "churn", "champion") },
        ]
        form.earlier.after = [AfterField(jobID: "k3v7q2m5x4ab")]
        #expect(form.isValid && form.objections.isEmpty)
        #expect(
            form.request
                == JobRequest(
                    scriptName: "score.py", after: ["k3v7q2m5x4ab"],
                    inputs: [
                        "model": RequestedInput(jobID: "k3v7q2m5x4ab", path: "churn model.joblib"),
                        "best": RequestedInput(model: "churn", alias: "champion"),
                    ]))
        #expect(ScriptForm(script: form.script).request == JobRequest(scriptName: "score.py"))
    }

    @Test func everyFieldIsChecked() {
        form.earlier.inputs = [
            input(".x") { ($0.jobID, $0.path) = ("K3V7", "") },
            input("y") { ($0.source, $0.model, $0.alias) = (.model, "Churn", "") },
            input("y") { ($0.jobID, $0.path) = ("k3v7q2m5x4ab", "a\nb") },
        ]
        form.earlier.after = [AfterField(), AfterField(jobID: "k3v7q2m5x4ab"), AfterField(jobID: "k3v7q2m5x4ab")]
        #expect(
            Set(form.objections.keys) == [
                "inputs", "inputs..x.name", "inputs..x.job_id", "inputs..x.path", "inputs.y.model", "inputs.y.alias",
                "inputs.y.path", "after", "after.0",
            ])
        #expect(form.objections["inputs"] == "y is there twice" && !form.isValid)
        #expect(form.earlier.after.map { $0.objection == nil } == [false, true, true])
    }

    @Test func thereAreAtMostTwenty() {
        form.earlier.inputs = (0..<21).map { number in
            input("i\(number)") { ($0.jobID, $0.path) = ("k3v7q2m5x4ab", "p") }
        }
        form.earlier.after = (0..<21).map { AfterField(jobID: "k3v7q2m5x4a\(Array("abcdefghijklmnopqrstuvwxyz")[$0])") }
        #expect(form.objections == ["inputs": "must be 20 at most", "after": "must be 20 at most"])
        form.earlier.inputs.removeLast()
        form.earlier.after.removeLast()
        #expect(form.isValid)
        form.earlier.inputs[0].path = String(repeating: "p", count: 1025)
        #expect(form.objections == ["inputs.i0.path": "must have 1024 characters at most"])
    }

    @Test func theAgentsObjectionsStandBesideTheirFieldsUntilTheseChange() {
        form.earlier.inputs = [
            input("m") { ($0.jobID, $0.path) = ("k3v7q2m5x4ab", "p") },
            input("m.x") { ($0.source, $0.model, $0.alias) = (.model, "churn", "champion") },
            input("n") { ($0.jobID, $0.path) = ("k3v7q2m5x4ab", "p") },
        ]
        form.earlier.after = [AfterField(jobID: "k3v7q2m5x4ab"), AfterField(jobID: "k3v7q2m5x4ac")]
        form.show([
            FieldProblem(field: "inputs.m.job_id", message: "is unknown"),
            FieldProblem(field: "inputs.m.x.alias", message: "is no alias"),
            FieldProblem(field: "inputs.n", message: "is odd"), FieldProblem(field: "inputs", message: "are too large"),
            FieldProblem(field: "after.1", message: "has failed"), FieldProblem(field: "after.7", message: "is odd"),
        ])
        #expect(
            form.objections == [
                "inputs.m.job_id": "is unknown", "inputs.m.x.alias": "is no alias", "inputs.n.name": "is odd",
                "inputs": "are too large", "after.1": "has failed", "after": "7 is odd",
            ])
        #expect(form.earlier.inputs[1].objections == ["alias": "is no alias"])
        #expect(form.isValid, "one may try again: the job may have completed by now")
        form.earlier.inputs[0].jobID = "k3v7q2m5x4ad"
        form.earlier.after[1].jobID = "k3v7q2m5x4ad"
        form.earlier.inputs[1].source = .job
        #expect(form.objections["inputs.m.job_id"] == nil && form.objections["after.1"] == nil)
        #expect(form.objections["inputs.m.x.alias"] == nil)
        form.clearRefusals()
        #expect(form.objections["inputs"] == nil && form.objections["after"] == nil)
    }

    @Test func aJobThatHasNotEndedIsWaitedFor() {
        form.earlier.inputs = [InputField(name: "a"), InputField(name: "b")]
        form.earlier.inputs[0].path = "of another job"
        form.earlier.choose(Sample.job("k3v7q2m5x4ab", "RUNNING"), for: form.earlier.inputs[0].id)
        form.earlier.choose(Sample.job("k3v7q2m5x4ab", "RUNNING"), for: form.earlier.inputs[1].id)
        form.earlier.choose(Sample.job("k3v7q2m5x4ac", "COMPLETED"), for: form.earlier.inputs[1].id)
        form.earlier.choose(Sample.job("k3v7q2m5x4ac", "COMPLETED"), for: UUID())
        #expect(form.earlier.inputs.map(\.jobID) == ["k3v7q2m5x4ab", "k3v7q2m5x4ac"])
        #expect(form.earlier.inputs[0].path.isEmpty)
        #expect(form.earlier.after.map(\.jobID) == ["k3v7q2m5x4ab"])
    }

    @Test func filesToChooseFromAreAskedFor() async {
        let transport = ScriptedTransport { request, _ in
            request.target == "/jobs/k3v7q2m5x4ab/artifacts"
                ? .json(
                    Sample.json([
                        "job_id": "k3v7q2m5x4ab", "complete": true,
                        "artifacts": [
                            ["path": "m.joblib", "size": 1, "sha256": "00", "media_type": "x/y"] as [String: Any]
                        ],
                    ])) : .problem(404, "job-not-found", "None.")
        }
        let sources = InputSources(agent: Agent(transport))
        await sources.load("k3v7")
        #expect(transport.requests.isEmpty, "while it is typed")
        await sources.load("k3v7q2m5x4ab")
        await sources.load("k3v7q2m5x4ac")
        #expect(sources.files.mapValues { $0.map(\.path) } == ["k3v7q2m5x4ab": ["m.joblib"]])
        #expect(sources.troubles.mapValues(\.title) == ["k3v7q2m5x4ac": "None."])
    }

    @Test func jobsToChooseFromAreTheNewest() {
        let list = JobList(agent: Agent(ScriptedTransport(.json("{}"))))
        for (at, status) in ["COMPLETED", "FAILED", "RUNNING", "PENDING", "CANCELLED", "LATER"].enumerated() {
            list.insert(Sample.job("job\(at)", status, ["created_at": "2026-01-01T00:00:0\(at).000Z"]))
        }
        #expect(list.sources().map(\.id) == ["job5", "job3", "job2", "job0"])
        #expect(
            list.sources(2).map(\.id) == ["job5", "job3"] && list.unfinished().map(\.id) == ["job5", "job3", "job2"])
    }

    @Test func theCommandHasThemToo() {
        let members: [String: Any] = [
            "inputs": ["m": ["job_id": "k3v7q2m5x4ab", "path": "p", "model": "churn", "alias": "champion"]],
            "after": ["k3v7q2m5x4ab"],
        ]
        #expect(Sample.job("a", "PENDING", members).command.hasSuffix("--input m=k3v7q2m5x4ab:p --after k3v7q2m5x4ab"))
        #expect(Sample.job("a", "COMPLETED", members).command.hasSuffix("--input m=k3v7q2m5x4ab:p"))
    }
}
