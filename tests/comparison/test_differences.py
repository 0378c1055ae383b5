"""In what two jobs differ, by their records."""

from agent.comparison.differences import difference
from agent.model.comparison import Difference
from agent.model.inputs import JobInput
from agent.model.job import Job
from tests.support.jobs import make_job


def inputs_of(a: Job, b: Job) -> list[Difference]:
    return difference(a, b, {}, {}, None).inputs


def test_inputs_differ_by_their_source_and_by_their_bytes() -> None:
    model = JobInput(job_id="k3v7q2m5x4ab", path="churn.joblib", size=4, sha256="a" * 64)
    same = JobInput(job_id="k3v7q2m5x4ab", path="table.parquet", size=4, sha256="b" * 64)
    a = make_job(inputs={"model": model, "table": same})
    b = make_job(inputs={"table": same})
    of_alias = model.model_copy(update={"sha256": "c" * 64, "model": "churn", "alias": "champion"})
    c = make_job(inputs={"model": of_alias, "table": same}, after=[model.job_id])
    digest = f"sha256:{'a' * 64}"
    assert inputs_of(a, a) == []
    assert inputs_of(a, b) == [Difference(name="/inputs/model", a=f"churn.joblib of k3v7q2m5x4ab, {digest}")]
    after, named = inputs_of(b, c)
    assert after == Difference(name="after", b="k3v7q2m5x4ab")
    assert named.name == "/inputs/model"
    assert named.b == f"churn.joblib of k3v7q2m5x4ab (churn@champion), sha256:{'c' * 64}"


def test_an_input_may_be_named_after() -> None:
    named = make_job(inputs={"after": JobInput(job_id="k3v7q2m5x4ab", path="x")}, after=["k3v7q2m5x4ab"])
    assert [each.name for each in inputs_of(make_job(), named)] == ["after", "/inputs/after"]
