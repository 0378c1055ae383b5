import json
import re
from typing import Any

from openapi_spec_validator import validate

from agent.api.routes import ROUTES
from agent.model.job import JobState, Reason
from tests.support.api_client import Client
from tests.support.openapi import Document


def every(node: Any) -> list[dict[str, Any]]:
    """All objects in a JSON value."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return ([node] if isinstance(node, dict) else []) + [each for child in below for each in every(child)]


def test_the_document_is_valid_openapi_3_1(document: Document) -> None:
    assert document.content["openapi"].startswith("3.1.")
    validate(document.content)


def test_no_schema_has_null_or_alternatives(document: Document) -> None:
    for node in every(document.content):
        assert not {"anyOf", "oneOf", "allOf", "nullable"} & node.keys()
        assert node.get("type") != "null"
        assert "default" not in node or node["default"] is not None


def test_every_route_is_documented_with_a_unique_operation_id(document: Document) -> None:
    documented = {
        (method.upper(), path): operation["operationId"]
        for path, operations in document.content["paths"].items()
        for method, operation in operations.items()
    }
    assert documented == {(route.method, route.path): route.operation_id for route in ROUTES}
    assert len(set(documented.values())) == len(ROUTES)


def test_parameter_names_are_restricted_by_property_names(document: Document) -> None:
    for node in every(document.content):
        assert "patternProperties" not in node
    names = document.content["components"]["schemas"]["JobRequest"]["properties"]["hyperparameters"]
    assert names["propertyNames"]["pattern"] == "^[A-Za-z][A-Za-z0-9_]*$"
    assert names["additionalProperties"]["type"] == "string"


def test_every_operation_needs_a_certificate_and_documents_its_refusals(document: Document) -> None:
    assert document.content["security"] == [{"certificate": []}]
    assert document.content["components"]["securitySchemes"]["certificate"]["type"] == "mutualTLS"
    of_hosts = (
        "submitSweep",
        "listSweeps",
        "createSchedule",
        "previewSchedule",
        "listSchedules",
        "listModels",
    )
    # A fleet's front has no sweeps, no schedules, no models and no ledger, and compares no jobs.
    absent = ("removeSecret", "compareJobs", "listUsage", "getDocsAsset", *of_hosts)
    for path, operations in document.content["paths"].items():
        for operation in operations.values():
            statuses = operation["responses"].keys()
            assert {"400", "403", "429", "500", "503"} <= statuses
            named = "_id}" in path or "{model}" in path
            assert ("404" in statuses) == (named or operation["operationId"] in absent)
            assert ("413" in statuses) == ("requestBody" in operation)


def test_every_operation_that_writes_documents_a_full_disk(document: Document) -> None:
    for operations in document.content["paths"].values():
        for method, operation in operations.items():
            looks = ("getLogs", "getExplanation", "listArtifacts", "getArtifact", "getModelArtifact")
            audited = operation["operationId"] in looks
            assert ("507" in operation["responses"]) == (method != "get" or audited)


def test_every_operation_has_a_summary_and_a_problem_as_default(document: Document) -> None:
    for operations in document.content["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]


def test_sentences_have_names_of_the_code_in_backticks_alone(document: Document) -> None:
    for operations in document.content["paths"].values():
        for operation in operations.values():
            for text in (operation["summary"], operation.get("description", "")):
                assert not re.search(r"\w_\w", re.sub("`[^`]*`", "", text)), text


def test_the_fields_of_the_first_client_are_required_strings(document: Document) -> None:
    job = document.content["components"]["schemas"]["Job"]
    assert {"job_id", "container_id", "status"} <= set(job["required"])
    assert job["properties"]["container_id"]["type"] == "string"


def test_a_submission_requires_only_the_script_name(document: Document) -> None:
    assert document.content["components"]["schemas"]["JobRequest"]["required"] == ["script_name"]


def reached(document: Document, node: Any) -> set[str]:
    """The schemas that a part of the document refers to, directly or through others."""
    schemas = document.content["components"]["schemas"]
    names = {each["$ref"].rpartition("/")[2] for each in every(node) if "$ref" in each}
    return names.union(*(reached(document, schemas[name]) for name in names))


def test_schemas_of_answers_are_open_and_schemas_of_requests_are_closed(document: Document) -> None:
    operations = [each for path in document.content["paths"].values() for each in path.values()]
    taken = reached(document, [operation.get("requestBody") for operation in operations])
    sent = reached(document, [operation["responses"] for operation in operations])
    of_sweeps = {"SweepRequest", "SweepRerun", "Extension", "RequestedDimension", "RequestedObjective"}
    of_jobs = {"JobRequest", "Rerun", "RequestedInput", "RequestedLimits"}
    others = {"SigningRequest", "ScheduleRequest", "AliasTarget", "RequestedReaders"}
    assert of_jobs | of_sweeps | others == taken
    assert {"Job", "Limits", "Attempt", "ProblemDocument", "FieldProblem", "ArtifactManifest"} <= sent
    assert not taken & sent
    for name, schema in document.content["components"]["schemas"].items():
        for node in every(schema):
            assert (node.get("additionalProperties") is False) == (name in taken and "properties" in node)


def test_states_are_closed_and_reasons_are_open(document: Document) -> None:
    schemas = document.content["components"]["schemas"]
    assert schemas["JobState"]["enum"] == list(JobState)
    assert (schemas["Reason"]["type"], "enum" in schemas["Reason"]) == ("string", False)
    assert schemas["Reason"]["examples"] == list(Reason)
    for items in (schemas["Job"]["properties"]["retry_on"]["items"], schemas["Job"]["properties"]["reason"]):
        assert items["$ref"].endswith("/Reason")
    assert "enum" in schemas["JobRequest"]["properties"]["retry_on"]["items"]


async def test_the_agent_serves_the_document(alice: Client, document: Document) -> None:
    answer = await alice.get("/openapi.json")
    assert json.loads(answer.body) == document.content
