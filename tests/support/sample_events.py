"""Events as an agent sends them, for the tests of several commands."""

from typing import Any

from tests.support.stand_in_agent import CREATED, JOB_ID, event, job

OTHER, THIRD = "bcdefghijklm", "cdefghijklmn"  # other jobs than JOB_ID

END = event("end", job())
ENDS: list[tuple[dict[str, Any], int]] = [  # how a job ended, and what following and waiting exit with
    ({"status": "COMPLETED"}, 0),
    ({"status": "FAILED", "reason": "exit-code", "exit_status": 3}, 3),
    ({"status": "FAILED", "reason": "oom-kill", "exit_status": 137}, 137),
    ({"status": "FAILED", "reason": "start-failed"}, 1),
    ({"status": "FAILED", "reason": "interrupted", "exit_status": 0}, 1),
    ({"status": "CANCELLED", "reason": "cancelled", "exit_status": 143}, 143),
]

# `watch` and `top` end by themselves only if they are refused.
REVOKED = event(
    "error", {"type": "urn:x:certificate-refused", "title": "x", "status": 403, "detail": "It was revoked."}
)
SNAPSHOT = [  # a running job and a waiting one
    event("reset", {"why": "No Last-Event-ID was sent."}),
    event("job", job(JOB_ID, status="RUNNING", started_at=CREATED)),
    event("job", job(OTHER, status="PENDING", queue={"position": 1, "waits_for": "2 CPUs"})),
    event("current", {"jobs": 2}, "7-00000000"),
]
