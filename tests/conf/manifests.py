"""Reads the manifests of ``conf/kubernetes`` strictly, and validates them against Kubernetes' own schemas.

The schemas come with the package kubernetes-validate, so nothing is fetched.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "conf" / "kubernetes"
#: From the oldest that has sidecars without a feature gate to the newest that the package knows.
OLDEST = "1.29"
NEWEST = kubernetes_validate.latest_version()
#: What is no manifest: it is read by kubectl and never sent to a cluster.
KUSTOMIZATION = "kustomization.yaml"
#: The node's configuration, of which the kustomization makes a ConfigMap.
TOML = FOLDER / "micronode.toml"


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would silently take the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"{node.start_mark}: twice: {sorted(twice)}")
        return super().construct_mapping(node, deep=deep)


def parse(text: str) -> dict[str, Any]:
    """Return the one document of *text*."""
    document = yaml.load(text, StrictLoader)
    assert isinstance(document, dict), document
    return document


def read(name: str) -> dict[str, Any]:
    """Return the document of ``conf/kubernetes/NAME``."""
    return parse((FOLDER / name).read_text("utf-8"))


def names() -> list[str]:
    """Return the names of the manifests."""
    return sorted(path.name for path in FOLDER.glob("*.yaml") if path.name != KUSTOMIZATION)


def validate(document: dict[str, Any], version: str = NEWEST) -> None:
    """Check *document* against the schemas of Kubernetes *version*; a field they do not have is refused.

    :raises kubernetes_validate.ValidationError: it is not in order.
    """
    kubernetes_validate.validate(document, version, strict=True)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every key below *value*."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield (*path, key)
            yield from places(below, (*path, key))
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from places(below, (*path, index))


class MountedFile:
    """The ConfigMap's file as a kubelet mounts it: links, of which an update replaces one.

    :ivar path: what a container sees.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._count = 0
        self.path = folder / "micronode.toml"

    def publish(self, text: str) -> None:
        """Make *text* what is read at :attr:`path`, from one moment to the next."""
        self._count += 1
        version = f"..{self._count}"
        (self._folder / version).mkdir()
        (self._folder / version / self.path.name).write_text(text, "utf-8")
        os.symlink(version, self._folder / "..data_tmp")
        os.rename(self._folder / "..data_tmp", self._folder / "..data")
        if not self.path.is_symlink():
            os.symlink(f"..data/{self.path.name}", self.path)


def seconds() -> tuple[float, float]:
    """Return ``drain.grace`` and ``drain.deadline`` of the pod's configuration."""
    from micronode.config.sources import load

    drain = load(environ={}, path=str(TOML), to_run=True).config.drain
    return drain.grace, drain.deadline
