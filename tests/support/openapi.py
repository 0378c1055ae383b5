"""Checks answers against the OpenAPI document that the agent serves."""

import json
import re
from dataclasses import dataclass
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it has no annotations

from agent.api import openapi


@dataclass(frozen=True)
class Document:
    """The parsed document."""

    content: dict[str, Any]

    @classmethod
    def load(cls) -> "Document":
        return cls(json.loads(openapi.document()))

    def check(self, method: str, path: str, status: int, headers: dict[str, str], body: bytes) -> None:
        """Fails where the document does not allow this answer to this call."""
        if (path, status) == ("/openapi.json", 200):
            return
        if path.startswith("/fleet/") and status < 400:
            return  # between programs of a fleet, which have their own tests
        operation = self._operation(method, path)
        if operation is None:
            assert status >= 400, f"{method} {path} is not in the document"
            operation = self.content["paths"]["/jobs"]["get"]
        described = operation["responses"].get(str(status), operation["responses"]["default"])
        if method == "HEAD" or "content" not in described:
            assert body == b""
            return
        kind = headers["Content-Type"].partition(";")[0]
        content = described["content"]
        assert kind in content or "*/*" in content, f"{method} {path} answered {status} as {kind}"
        if kind.endswith(("/json", "+json")) and "*/*" not in content:
            self.validate(content[kind]["schema"], json.loads(body))

    def validate(self, schema: dict[str, Any], value: Any) -> None:
        """Fails where the value is not as the schema says; of this version, nothing else is allowed."""
        closed = {
            name: {"additionalProperties": False, **each} if "properties" in each else each
            for name, each in self.content["components"]["schemas"].items()
        }
        Draft202012Validator({**schema, "components": {"schemas": closed}}).validate(value)

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for template, operations in self.content["paths"].items():
            pattern = re.escape(template).replace(r"\{path\}", ".+")
            if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", pattern), path):
                found: dict[str, Any] | None = operations.get("get" if method == "HEAD" else method.lower())
                return found
        return None
