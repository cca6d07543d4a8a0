"""Raw texts encrypted with AES-GCM under a ring of keys, and submitters' contacts as keyed hashes.

A ring has one current key, which seals, and older ones, which only open. Its hash secret never turns with the keys:
a turned one would make a repeat submitter look like a new one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import os
import re
import secrets
import stat
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_VERSION = 1
_NONCE = 12
_KEY = 32
_KEY_ID = re.compile(r"[a-z0-9]{1,16}")


class KeyRingError(ValueError):
    """Keys that cannot be used, or a text they do not open; the message has the remedy and never a key."""


class KeyRing:
    """The keys in use. Build it with ``new``, ``parse`` or ``load_or_create``."""

    def __init__(self, current: str, keys: Mapping[str, bytes], secret: bytes) -> None:
        if current not in keys:
            raise KeyRingError(f"current {current}：keys 里没有这把密钥；请补上它，或改用 keys 里有的编号。")
        for name, key in {**keys, "hash": secret}.items():
            if len(key) != _KEY:
                raise KeyRingError(f"{name}：密钥须为 {_KEY} 字节的 base64；请从备份恢复密钥文件。")
        if not all(map(_KEY_ID.fullmatch, keys)):
            raise KeyRingError("keys：密钥编号只能用 1 到 16 个小写字母和数字；请改正编号。")
        self.current = current
        self._keys = dict(keys)
        self._secret = secret
        self._ciphers = {name: AESGCM(_subkey(key, b"triage raw text")) for name, key in keys.items()}
        self._submitters = _subkey(secret, b"triage submitter")
        self._contents = _subkey(secret, b"triage content")

    @classmethod
    def new(cls) -> KeyRing:
        """Return a ring with one fresh key and a fresh hash secret."""
        name = secrets.token_hex(4)
        return cls(name, {name: secrets.token_bytes(_KEY)}, secrets.token_bytes(_KEY))

    @classmethod
    def parse(cls, written: str) -> KeyRing:
        """Return the ring that ``as_text`` wrote, from a file or a setting. Raises KeyRingError."""
        try:
            ring = json.loads(written)
            keys = {str(name): base64.b64decode(key, validate=True) for name, key in ring["keys"].items()}
            return cls(str(ring["current"]), keys, base64.b64decode(ring["hash"], validate=True))
        except KeyRingError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError):
            raise KeyRingError('密钥不是 {"current", "keys", "hash"} 形式的 JSON；请从备份恢复密钥文件。') from None

    @classmethod
    def load_or_create(cls, path: Path) -> KeyRing:
        """Return the ring in the file at ``path``, made on first start, readable by its owner alone.

        Raises KeyRingError for a file that others may read or that holds no ring, OSError when it cannot be read.
        """
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_first(path, cls.new().as_text())
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise KeyRingError(f"密钥文件权限为 {mode:o}，他人可读；请运行 chmod 600 {path}")
        return cls.parse(path.read_text("utf-8"))

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The keys' identifiers, the current one among them."""
        return tuple(self._keys)

    def as_text(self) -> str:
        """Return the ring as the JSON that ``parse`` reads: it holds the keys, so keep it as you keep them."""
        keys = {name: base64.b64encode(key).decode() for name, key in self._keys.items()}
        return json.dumps({"current": self.current, "keys": keys, "hash": base64.b64encode(self._secret).decode()})

    def rotated(self) -> KeyRing:
        """Return the ring with a fresh current key before the old ones."""
        name = secrets.token_hex(4)
        return KeyRing(name, {**self._keys, name: secrets.token_bytes(_KEY)}, self._secret)

    def without_old(self) -> KeyRing:
        """Return the ring with its current key alone; only once everything is sealed with it."""
        return KeyRing(self.current, {self.current: self._keys[self.current]}, self._secret)

    def seal(self, text: str, bound_to: str) -> bytes:
        """Return ``text`` encrypted with the current key; it opens only with the same ``bound_to``."""
        nonce = os.urandom(_NONCE)
        name = self.current.encode()
        head = bytes((_VERSION, len(name))) + name
        return head + nonce + self._ciphers[self.current].encrypt(nonce, text.encode(), head + bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> str:
        """Return the text in ``sealed``. Raises KeyRingError when its key is missing or it was tampered with."""
        name = key_id_of(sealed)
        if name not in self._ciphers:
            raise KeyRingError(f"缺少密钥 {name}，原文无法打开；请把旧密钥放回密钥文件。")
        start = 2 + len(name)
        nonce, body = sealed[start : start + _NONCE], sealed[start + _NONCE :]
        try:
            return self._ciphers[name].decrypt(nonce, body, sealed[:start] + bound_to.encode()).decode()
        except (InvalidTag, ValueError):
            raise KeyRingError("原文密文被改动或密钥不符，无法打开；请从备份恢复。") from None

    def submitter_ref(self, contact: str) -> str:
        """Return the keyed hash of a phone number, ID number or other contact, however it was written.

        Raises ValueError for a contact without a letter or digit.
        """
        return _keyed(self._submitters, normalise_contact(contact).encode())

    def digest(self, content: bytes) -> str:
        """Return the keyed hash by which the same content is known again; without the key it tells nothing."""
        return _keyed(self._contents, content)


def write_key_ring(path: Path, ring: KeyRing) -> None:
    """Replace the file at ``path`` by this ring at one stroke, readable by its owner alone."""
    temporary = _write_private(path, ring.as_text())
    os.replace(temporary, path)
    _sync_folder(path.parent)


def normalise_contact(contact: str) -> str:
    """Return ``kind:value``, the same for all ways to write one phone number, resident ID, address or name."""
    plain = re.sub(r"\s", "", unicodedata.normalize("NFKC", contact)).casefold()
    if not any(character.isalnum() for character in plain):
        raise ValueError("submitter：没有字母或数字；请填电话、证件号或其他联系方式，没有就不填")
    number = re.sub(r"[^0-9x]", "", plain) if re.fullmatch(r"[0-9x+().·-]+", plain) else plain
    if re.fullmatch(r"[0-9]{17}[0-9x]", number):
        return f"id:{number}"
    if re.fullmatch(r"[0-9]{5,17}", number):
        # Country code and trunk zero may or may not be written.
        return f"phone:{re.sub(r'^(?:00)?86(?=[0-9]{9,12}$)', '', number).lstrip('0')}"
    return f"other:{plain}"


def key_id_of(sealed: bytes) -> str:
    """Return the identifier of the key that sealed this. Raises KeyRingError when it is no sealed text."""
    if len(sealed) < 2 or sealed[0] != _VERSION or len(sealed) < 2 + sealed[1] + _NONCE + 16:
        raise KeyRingError("密文格式不认识；请从备份恢复，或改用写下它的程序版本。")
    return sealed[2 : 2 + sealed[1]].decode("ascii", "replace")


def _subkey(key: bytes, purpose: bytes) -> bytes:
    return HKDF(SHA256(), _KEY, salt=None, info=purpose).derive(key)


def _keyed(key: bytes, content: bytes) -> str:
    return base64.urlsafe_b64encode(hmac.digest(key, content, "sha256")).decode().rstrip("=")


def _write_first(path: Path, text: str) -> None:
    temporary = _write_private(path, text)
    try:
        os.link(temporary, path)  # fails where another worker was first; its ring is the one
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    _sync_folder(path.parent)


def _write_private(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle: Any = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
