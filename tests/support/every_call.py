"""Every call of the API: its path, and what a plain use of it sends."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from agent.api.fleet_routes import FLEET_ROUTES, MEMBER_ROUTES
from agent.api.routes import ROUTES

from .pki import signing_request

PATHS = {"getOpenapi": ("GET", "/openapi.json", 200)}
QUERIES = {"compareJobs": "?job={job_id}"}  # of calls whose path alone asks for nothing
PATHS |= {
    route.operation_id: (route.method, route.path + QUERIES.get(route.operation_id, ""), route.status)
    for route in ROUTES
}
FLEET_PATHS = {route.operation_id: (route.method, route.path, route.status) for route in FLEET_ROUTES}
MEMBER_PATHS = {route.operation_id: (route.method, route.path, route.status) for route in MEMBER_ROUTES}
BODIES: dict[str, dict[str, Any]] = {
    "submitJob": {"script_name": "succeed.py"},
    "submitSweep": {
        "script_name": "succeed.py",
        "space": {"depth": {"values": ["1", "2", "3"]}},
        "strategy": "grid",
        "trials": 2,
        "objective": {"metric": "loss", "direction": "minimize"},
    },
    "extendSweep": {"trials": 3},
    "createSchedule": {"name": "nightly", "calendar": "hourly", "job": {"script_name": "succeed.py"}},
    "previewSchedule": {"name": "nightly", "calendar": "hourly", "job": {"script_name": "succeed.py"}},
    "checkJob": {"script_name": "succeed.py"},
    "renewCertificate": {"csr": signing_request(ec.generate_private_key(ec.SECP256R1()))},
    "enrol": {"csr": signing_request(ec.generate_private_key(ec.SECP256R1()))},
}
BODIES["tellJobs"] = {"job_ids": ["aaaaaaaaaaaa"]}
BODIES["dropSecret"] = {"version": "1800000000000000-0123456789abcdef"}
BYTES = {"setSecret": b"a value"}
BODIES["setAlias"] = {"job_id": "aaaaaaaaaaaa", "path": "result.txt"}
BODIES |= {name: {"users": ["dora"]} for name in ("setJobReaders", "setSweepReaders", "setModelReaders")}
# What else stands in paths.
EXAMPLES = {"path": "result.txt", "name": "api-key", "alias": "champion", "asset": "swagger-ui-bundle.js"}

ENDLESS = {"getEvents": b"event: current", "getJobEvents": b"event: job"}  # and what shows that they go on


def filled(path: str, named: str) -> str:
    """The path of a call about the job, the sweep or the schedule with that id, or the model of that name."""
    ids = dict.fromkeys(("job_id", "other_id", "sweep_id", "schedule_id", "model"), named)
    for name, value in (EXAMPLES | ids).items():
        path = path.replace(f"{{{name}}}", value)
    return path
