"""What Podman knows of an image: its names, its digest, and what it is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

RECIPE, PACKAGES = "ml-agent.recipe", "ml-agent.packages"  # labels that quadlets/ml-runner.build gives
MAX_PACKAGES = 64 * 1024  # characters of a label


@dataclass(frozen=True)
class Image:
    """An image in the local storage. `id` is the digest of its configuration, and both are `sha256:<hex>`.

    `names` are all its names, with tags. `recipe` is the digest of the files that it was built from, as its
    label `RECIPE` says; empty in another image.
    """

    id: str
    digest: str
    names: tuple[str, ...] = ()
    recipe: str = ""

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Image":
        """The image of an answer to `GET /images/{name}/json`."""
        return cls(
            id=f"sha256:{found['Id'].removeprefix('sha256:')}",
            digest=found["Digest"],
            names=tuple(found.get("RepoTags") or ()),
            recipe=str((found.get("Labels") or {}).get(RECIPE, "")),
        )

    def has(self, name: str) -> bool:
        """Whether it has a name. Podman's names include the registry, which a short name leaves out."""
        return any(each == name or each.endswith(f"/{name}") for each in self.names)


@dataclass(frozen=True)
class Content:
    """The names of the variables that an image sets, and the versions of its Python packages by name.

    The packages are what its label `PACKAGES` says, `NAME@VERSION:…`; empty in another image.
    """

    variables: frozenset[str] = frozenset()
    packages: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> "Content":
        """The content of an answer to `GET /images/{name}/json`."""
        assignments = (found.get("Config") or {}).get("Env") or ()
        label = str((found.get("Labels") or {}).get(PACKAGES, ""))[:MAX_PACKAGES]
        pairs = (each.partition("@") for each in label.split(":") if "@" in each)
        return cls(
            variables=frozenset(each.partition("=")[0] for each in assignments),
            packages={name: version for name, _, version in pairs},
        )


def by_digest(image: str, digest: str) -> str:
    """The name by which Podman finds an image as long as the image has any name in its repository."""
    return f"{_repository(image)}@{digest}"


def kept_name(image: str, digest: str) -> str:
    """A name for an image that no build gives to another image."""
    return f"{_repository(image)}:kept-{digest.removeprefix('sha256:')[:12]}"


def _repository(image: str) -> str:
    """An image's name without its tag or digest, which follow a colon or an @ behind the last slash."""
    head, slash, tail = image.rpartition("/")
    return head + slash + tail.partition("@")[0].partition(":")[0]
