import MLJobKit
import SwiftUI

/// The files of earlier jobs that the new one is to see in /inputs.
struct InputsSection: View {
    let host: HostSession
    @Bindable var form: ScriptForm
    @State private var sources: InputSources

    init(host: HostSession, form: ScriptForm) {
        self.host = host
        self.form = form
        _sources = State(initialValue: host.inputSources())
    }

    var body: some View {
        Section {
            ForEach($form.earlier.inputs) { InputRows(host: host, form: form, sources: sources, input: $0) }
            Button("Add an Input") { form.earlier.inputs.append(InputField()) }
            Objection(text: form.objections["inputs"])
        } header: {
            Text("Inputs")
        } footer: {
            Text("A file that another job has left. This one sees it as /inputs and its name.")
        }
        .task { await host.models.load() }
    }
}

/// One input: its name, and the file of a job or the model that it is.
struct InputRows: View {
    let host: HostSession
    let form: ScriptForm
    let sources: InputSources
    @Binding var input: InputField

    var body: some View {
        HStack {
            TextField("Name in /inputs", text: $input.name, prompt: Text("model")).autocorrectionDisabled()
            Button(role: .destructive) {
                form.earlier.inputs.removeAll { $0.id == input.id }
            } label: {
                Label("Remove", systemImage: "minus.circle").labelStyle(.iconOnly)
            }
            .buttonStyle(.borderless)
        }
        Objection(text: input.objections["name"])
        Picker("From", selection: $input.source) {
            Text("A job").tag(InputField.Source.job)
            Text("A model").tag(InputField.Source.model)
        }
        .pickerStyle(.segmented)
        switch input.source {
        case .job: JobInputRows(host: host, form: form, sources: sources, input: $input)
        case .model: ModelInputRows(host: host, input: $input)
        }
    }
}

/// A job, and one of the files that it has left; both can be typed.
struct JobInputRows: View {
    let host: HostSession
    let form: ScriptForm
    let sources: InputSources
    @Binding var input: InputField

    var body: some View {
        HStack {
            TextField("Job", text: $input.jobID, prompt: Text("its ID")).autocorrectionDisabled().monospaced()
            JobsMenu(title: "Choose", jobs: host.jobs.sources()) { form.earlier.choose($0, for: input.id) }
        }
        .task(id: input.jobID) { await sources.load(input.jobID) }
        Objection(text: input.objections["job_id"])
        HStack {
            TextField("File", text: $input.path, prompt: Text("churn_model.joblib")).autocorrectionDisabled()
            Menu("Choose") {
                ForEach(sources.files[input.jobID] ?? []) { file in
                    Button(file.path) { input.path = file.path }
                }
            }
            .fixedSize()
            .disabled((sources.files[input.jobID] ?? []).isEmpty)
        }
        Objection(text: input.objections["path"])
        if let trouble = sources.troubles[input.jobID] {
            Text(trouble.title).font(.caption).foregroundStyle(.secondary)
        }
    }
}

/// A model by name, and one of its aliases; both can be typed.
struct ModelInputRows: View {
    let host: HostSession
    @Binding var input: InputField

    var body: some View {
        HStack {
            TextField("Model", text: $input.model, prompt: Text("churn")).autocorrectionDisabled()
            Menu("Choose") {
                ForEach(host.models.models) { model in
                    ForEach(model.aliases) { alias in
                        Button("\(model.model) \(alias.alias)") {
                            (input.model, input.alias) = (model.model, alias.alias)
                        }
                    }
                }
            }
            .fixedSize()
            .disabled(host.models.models.isEmpty)
        }
        Objection(text: input.objections["model"])
        TextField("Alias", text: $input.alias, prompt: Text("champion")).autocorrectionDisabled()
        Objection(text: input.objections["alias"])
    }
}

/// Jobs to choose from, by their names.
struct JobsMenu: View {
    let title: LocalizedStringKey
    let jobs: [Job]
    let choose: (Job) -> Void

    var body: some View {
        Menu(title) {
            ForEach(jobs) { job in
                Button("\(job.title), \(job.shortID), \(job.status.title)") { choose(job) }
            }
        }
        .fixedSize()
        .disabled(jobs.isEmpty)
    }
}
