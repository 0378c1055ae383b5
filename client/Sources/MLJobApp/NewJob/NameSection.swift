import MLJobKit
import SwiftUI

/// What to call the job, its labels, and which commit it runs. A rerun takes these from its job.
struct NameSection: View {
    @Bindable var form: ScriptForm

    var body: some View {
        if form.original == nil {
            Section("Job") {
                TextField("Name", text: $form.name, prompt: Text("optional"))
                Objection(text: form.objections["name"])
                TextField("Commit, tag or branch", text: $form.ref, prompt: Text("the site's current one"))
                    .autocorrectionDisabled()
                Objection(text: form.objections["ref"])
                LabelRows(form: form)
                Objection(text: form.objections["labels"])
                Button("Add a Label") { form.labels.append(ScriptForm.Label()) }
            }
        }
    }
}
