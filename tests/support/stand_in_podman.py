"""Stands in for Podman's service: the few routes that the agent asks for, and faults on demand."""

import contextlib
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from agent.host import podman
from agent.host.podman import podman_name


class StandInPodman:
    """The few libpod routes. Secrets are in a dictionary."""

    def __init__(self, storage: Path) -> None:
        self.secrets: dict[str, dict[str, Any]] = {}
        self.values: dict[str, bytes] = {}
        self.storage = storage
        self.forgets = False
        self.refuses: web.Response | None = None
        self.killed: list[tuple[str, str]] = []
        self.answer: web.Response | None = None
        self.asked_for_images = 0
        self.names = ["localhost/ml-runner:latest"]
        self.containers: list[str] = []

    @contextlib.asynccontextmanager
    async def listening(self, socket: Path) -> AsyncIterator[None]:
        """Answers on a socket in the file system."""
        runner = web.AppRunner(self.application())
        await runner.setup()
        await web.UnixSite(runner, str(socket)).start()
        try:
            yield
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        application = web.Application()
        prefix = "/v5.0.0/libpod"
        application.router.add_get(prefix + "/info", self.info)
        application.router.add_get(prefix + "/images/{name}/json", self.image)
        application.router.add_post(prefix + "/images/{name}/tag", self.tag)
        application.router.add_delete(prefix + "/images/{name}", self.remove_image)
        application.router.add_get(prefix + "/secrets/json", self.listing)
        application.router.add_post(prefix + "/secrets/create", self.create)
        application.router.add_get(prefix + "/secrets/{name}/json", self.inspect)
        application.router.add_get(prefix + "/containers/json", self.list_containers)
        application.router.add_post(prefix + "/containers/{name}/kill", self.kill)
        application.router.add_delete(prefix + "/containers/{name}", self.remove_container)
        application.router.add_delete(prefix + "/secrets/{name}", self.remove)
        return application

    async def kill(self, request: web.Request) -> web.Response:
        if request.match_info["name"] != "ml-job-abcdefghij23":
            return web.json_response({"message": "no such container"}, status=404)
        self.killed.append((request.match_info["name"], request.query["signal"]))
        return web.Response(status=204)

    async def list_containers(self, request: web.Request) -> web.Response:
        assert request.query["all"] == "true"
        (pattern,) = json.loads(request.query["filters"])["name"]
        return web.json_response([{"Names": [name]} for name in self.containers if re.search(pattern, name)])

    async def remove_container(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self.containers:
            return web.json_response({"message": "no such container"}, status=404)
        assert (request.query["force"], request.query["v"]) == ("true", "true")
        self.containers.remove(request.match_info["name"])
        return web.json_response([{"Id": "ab" * 32}])

    async def info(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "host": {
                    "cgroupVersion": "v2",
                    "cgroupControllers": ["memory", "pids"],
                    "idMappings": {"uidmap": [{"size": 1}, {"size": 65536}]},
                },
                "store": {"graphRoot": str(self.storage)},
                "version": {"Version": "5.4.2"},
            }
        )

    async def image(self, request: web.Request) -> web.Response:
        self.asked_for_images += 1
        if self.answer is not None:
            return self.answer
        if request.match_info["name"] not in self.names:
            return web.json_response({"message": "no such image"}, status=404)
        labels = {"ml-agent.recipe": "0123456789abcdef", "ml-agent.packages": "numpy@2.3.4:pandas@3.0.0"}
        return web.json_response(
            {"Id": "ab" * 32, "Digest": "sha256:" + "cd" * 32, "RepoTags": self.names, "Labels": labels}
        )

    async def tag(self, request: web.Request) -> web.Response:
        assert request.match_info["name"] == "ab" * 32
        self.names.append(f"{request.query['repo']}:{request.query['tag']}")
        return web.Response(status=201, text="Created\n")

    async def remove_image(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self.names:
            return web.json_response({"message": "no such image"}, status=404)
        self.names.remove(request.match_info["name"])
        return web.json_response({})

    async def listing(self, _: web.Request) -> web.Response:
        return web.json_response(list(self.secrets.values()))

    async def create(self, request: web.Request) -> web.Response:
        if self.refuses:
            return self.refuses
        if self.forgets:
            self.secrets.clear()
        self._keep(request.query["name"], json.loads(request.query["labels"]), await request.read())
        return web.json_response({"ID": "1"})

    def add(self, name: str, user: str | None, value: bytes) -> None:
        """As an operator sets a secret."""
        labels = {podman.LABEL_NAME: name} | ({podman.LABEL_USER: user} if user else {})
        self._keep(podman_name(name, user), labels, value)

    def _keep(self, name: str, labels: dict[str, str], value: bytes) -> None:
        self.secrets[name] = {
            "CreatedAt": "2026-01-01T00:00:00.123456789Z",
            "UpdatedAt": "2026-01-02T00:00:00Z",
            "Spec": {"Name": name, "Labels": labels},
        }
        self.values[name] = value

    async def inspect(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self.secrets:
            return web.json_response({"message": "no such secret"}, status=404)
        return web.json_response({})

    async def remove(self, request: web.Request) -> web.Response:
        del self.secrets[request.match_info["name"]]
        del self.values[request.match_info["name"]]
        return web.Response(status=204)
