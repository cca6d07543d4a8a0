"""Model folders: safe formats, written whole or not at all, checked by digest, never changed after."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MANIFEST = "model.json"
CARD = "card.md"
Arrays = dict[str, NDArray[Any]]


class ArtifactError(ValueError):
    """A model folder that is missing, incomplete, altered or of another kind; says which and what to do."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified model folder: its manifest and the bytes of its files."""

    directory: Path
    manifest: dict[str, Any]
    files: dict[str, bytes]

    def arrays(self, name: str) -> Arrays:
        """Return the arrays of the ``.npz`` file ``name``; pickled objects are refused."""
        with np.load(io.BytesIO(self.files[name]), allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}

    def json(self, name: str) -> Any:
        """Return the parsed JSON file ``name``."""
        return json.loads(self.files[name])


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return ``arrays`` as the bytes of a compressed ``.npz`` file, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def pack_json(value: Any) -> bytes:
    """Return ``value`` as canonical JSON: sorted keys, UTF-8, a final line feed."""
    return (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode()


def write_artifact(directory: Path, manifest: Mapping[str, Any], files: Mapping[str, bytes], card: str) -> None:
    """Write a model folder atomically: a reader sees all of it or none.

    ``manifest`` must be JSON; it is stored with the digest of every file and of itself.
    Raises ArtifactError when ``directory`` already exists: artifacts are never changed.
    """
    if directory.exists():
        raise ArtifactError(f"{directory}: exists already; models are never overwritten, so name a new folder")
    contents = {**files, CARD: card.encode()}
    signed = {**manifest, "files": {name: _digest(data) for name, data in sorted(contents.items())}}
    signed["digest"] = _digest(pack_json(signed))
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for name, data in {**contents, MANIFEST: pack_json(signed)}.items():
            with open(temporary / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        os.rename(temporary, directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def read_artifact(directory: Path, kind: str) -> Artifact:
    """Return the verified contents of a model folder.

    ``kind`` must equal the manifest's ``kind``. Raises ArtifactError when the folder or a file is
    missing, when any file's digest differs from the manifest's, or when the kind is another.
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ArtifactError(f"{directory}: no {MANIFEST}; name a folder that `triage train` has written") from None
    except ValueError as error:
        raise ArtifactError(f"{directory / MANIFEST}: not valid JSON ({error}); restore the folder") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ArtifactError(f"{directory / MANIFEST}: not a model manifest; restore the folder")
    unsigned = {key: value for key, value in manifest.items() if key != "digest"}
    if manifest.get("digest") != _digest(pack_json(unsigned)):
        raise ArtifactError(f"{directory / MANIFEST}: altered after it was written; restore the folder")
    if manifest.get("kind") != kind:
        raise ArtifactError(f"{directory}: holds a {manifest.get('kind')!r}, but a {kind!r} is needed")
    files = {}
    for name, expected in manifest["files"].items():
        path = directory / name
        if path.parent != directory or not path.is_file():
            raise ArtifactError(f"{path}: missing; restore the folder")
        files[name] = path.read_bytes()
        if _digest(files[name]) != expected:
            raise ArtifactError(f"{path}: altered after it was written (digest differs); restore the folder")
    return Artifact(directory, manifest, files)


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
