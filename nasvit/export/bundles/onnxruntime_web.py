"""ONNX Runtime for browsers: its files come from the npm registry once, and are checked against a known hash."""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import tarfile
import tempfile
import urllib.request
from pathlib import Path

from nasvit.files.whole import cache_folder

VERSION = "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""SHA-512 of the archive, in base 64, as the registry states it."""

FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
"""What a page needs of it: the code, and the operators for processors."""

LICENSE = "LICENSE"
_DEFAULT = "https://registry.npmjs.org"
_SECONDS = 60.0  # without a byte, after which the registry counts as not there


def fetch() -> Path:
    """Return the archive, from the user's cache folder; it is downloaded into that the first time.

    Raises:
        ValueError: if it cannot be downloaded, or is another one than this code was written for.
    """
    path = archive()
    if path.exists():
        _check(path.read_bytes(), f"{path}, which is kept from an earlier download,", "remove it")
        return path
    address = f"{registry()}/onnxruntime-web/-/{path.name}"
    by_hand = f"download it on another machine and put it at {path}"
    try:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer:
            content: bytes = answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: of an address that is none
        raise ValueError(
            f"a browser page needs onnxruntime-web {VERSION}, and {address} cannot be downloaded ({error}); {by_hand}"
        ) from error
    _check(content, address, by_hand)
    _keep(content, path)
    return path


def copy_files(folder: Path) -> None:
    """Copy what a page needs into a folder, with the license.

    Raises:
        ValueError: as in :func:`fetch`.
    """
    with tarfile.open(fetch()) as packed:
        for name in FILES:
            content = packed.extractfile(f"package/dist/{name}")
            assert content is not None, "the archive of this hash has the file"
            (folder / name).write_bytes(content.read())
    text = (Path(__file__).parent / "page" / "onnxruntime-web.LICENSE").read_text(encoding="utf-8")
    (folder / LICENSE).write_text(text, encoding="utf-8")


def archive() -> Path:
    """Return where the archive is kept: in ``$XDG_CACHE_HOME/nasvit``, or ``~/.cache/nasvit``."""
    return cache_folder() / f"onnxruntime-web-{VERSION}.tgz"


def registry() -> str:
    """Return the address of the registry that npm asks: ``npm_config_registry``, ``~/.npmrc``, or the public one."""
    for name, value in os.environ.items():
        if name.lower() == "npm_config_registry" and value:
            return value.rstrip("/")
    settings = Path.home() / ".npmrc"
    for line in settings.read_text(encoding="utf-8").splitlines() if settings.is_file() else ():
        name, _, value = line.partition("=")
        if name.strip() == "registry":
            return value.strip().strip("\"'").rstrip("/")
    return _DEFAULT


def _check(content: bytes, what: str, way_out: str) -> None:
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != INTEGRITY:
        raise ValueError(f"{what} is not onnxruntime-web {VERSION} as it was published (another SHA-512); {way_out}")


def _keep(content: bytes, path: Path) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f"{path.stem}.", suffix=".tmp", delete=False) as file:
        try:
            file.write(content)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise
