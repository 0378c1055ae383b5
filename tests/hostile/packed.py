"""Requests that carry as many hostile values as they may."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import ValidationError

from agent.model.inputs import MAX_PARAMETERS
from agent.model.job import MAX_LABELS, JobRequest

MAX_BYTES = 200_000  # of a body; the agent takes some more
Body = dict[str, Any]


def taken(script_name: str, **members: Any) -> bool:
    """Whether the agent's model takes a request with these members."""
    try:
        JobRequest.model_validate({"script_name": script_name} | members)
    except ValidationError:
        return False
    return True


def everywhere(script_name: str, text: str) -> Body:
    """A request that says the text in each place that takes it, and something harmless in no other."""
    wanted: list[Body] = [
        {"hyperparameters": {"p": text}},
        {"hyperparameters": {"p": text, text: text}},
        {"name": text},
        {"labels": {"l": text}},
        {"labels": {"l": text, text: text}},
    ]
    body: Body = {"script_name": script_name}
    for members in wanted:
        if taken(script_name, **members):
            body |= members
    return body


def packed(script_name: str, texts: Iterable[str]) -> Iterator[Body]:
    """Requests whose hyperparameters have all of the texts that a value may be, and labels some of them."""
    left = [text for text in texts if taken(script_name, hyperparameters={"p": text})]
    while left:
        body: Body = {"script_name": script_name, "hyperparameters": {}}
        while left and len(json.dumps(body)) < MAX_BYTES:
            more = body["hyperparameters"] | {f"p{len(body['hyperparameters'])}": left[-1]}
            if not taken(script_name, hyperparameters=more):
                break
            body["hyperparameters"] = more
            left.pop()
        short = [text for text in body["hyperparameters"].values() if taken(script_name, labels={"l": text})]
        body["labels"] = {f"l{number}": text for number, text in enumerate(short[:MAX_LABELS])}
        body["name"] = next((text for text in short if taken(script_name, name=text)), "")
        yield body


def named(script_name: str, texts: Iterable[str]) -> Body:
    """A request whose hyperparameters have the texts for names, as many as there may be."""
    names: dict[str, str] = {}
    for text in texts:
        if taken(script_name, hyperparameters={text: "1"}):
            names.setdefault(text.upper(), text)
    chosen = list(names.values())[:MAX_PARAMETERS]
    return {"script_name": script_name, "hyperparameters": {name: name for name in chosen}}
