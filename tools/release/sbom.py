"""The bill of materials of a release: CycloneDX 1.5 JSON, made from the wheels that are in it."""

from __future__ import annotations

import email.parser
import hashlib
import uuid
import zipfile
from collections.abc import Iterable
from email.message import Message
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from tools.release.target import Target


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA"))
        return email.parser.HeaderParser().parsestr(archive.read(name).decode())


def _licenses(metadata: Message) -> list[dict[str, Any]]:
    """As the package itself says: its SPDX expression, else its classifiers, else its free text."""
    if expression := metadata["License-Expression"]:
        return [{"expression": expression}]
    classifiers = [line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]
    texts = classifiers or [line for line in (metadata["License"] or "").splitlines()[:1] if line]
    return [{"license": {"name": text}} for text in texts]


def component(wheel: Path) -> dict[str, Any]:
    metadata = _metadata(wheel)
    name, version = canonicalize_name(metadata["Name"]), metadata["Version"]
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name}@{version}",
        "licenses": _licenses(metadata),
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
    }


def document(target: Target, version: str, stamp: str, wheels: Iterable[Path]) -> dict[str, Any]:
    """`stamp`: ISO time of the sources, so that the same sources give the same document."""
    components = [component(wheel) for wheel in wheels]
    reference = f"pkg:generic/v2g-edge@{version}?arch={target.arch}&distro=debian-{target.debian}"
    serial = uuid.uuid5(uuid.NAMESPACE_URL, reference + stamp + "".join(c["hashes"][0]["content"] for c in components))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": stamp,
            "component": {
                "type": "application",
                "bom-ref": reference,
                "name": "v2g-edge",
                "version": version,
                "purl": reference,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            },
        },
        "components": components,
        "dependencies": [{"ref": reference, "dependsOn": [c["bom-ref"] for c in components]}],
    }
