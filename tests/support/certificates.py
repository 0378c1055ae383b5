"""Certificates as the record has them."""

from datetime import timedelta

from agent.model.base import now
from agent.model.certificate import Certificate, Role


def make_certificate(serial: str, user: str = "alice", *, days: int = 30) -> Certificate:
    """An analyst's certificate, issued now."""
    issued = now()
    return Certificate(
        serial=serial,
        user=user,
        role=Role.ANALYST,
        issued_at=issued,
        expires_at=issued + timedelta(days=days),
    )
