"""The study's key, and all that is signed or derived with it.

One random file decides sessions, assignment tokens, personal links and media names. Whoever has
it can act for any rater, so it is readable by its owner only and no part of an export.
"""

import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import Any

from itsdangerous import BadData, URLSafeSerializer, URLSafeTimedSerializer

from dojobench.protocol.errors import BadInputError

KEY_FILE = "secret.key"
"""Name of the file in a study's folder."""

KEY_BYTES = 32

SESSION_SECONDS = 60 * 60 * 24 * 90
"""How long a rater may stay away and still come back by cookie."""

SLOTS = ("left", "right", "reference", "actions")
"""What of a trial can be fetched."""

_TRIAL_DIGITS = 32
_MAC_DIGITS = 32


def read_key(folder: Path, *, create: bool = True) -> bytes:
    """Reads the study's key, and makes it where there is none yet.

    Args:
        folder: The study's folder.
        create: Whether a key may be made.

    Raises:
        BadInputError: If it cannot be read or made, or is too short to be a key.
    """
    path = folder / KEY_FILE
    if not folder.is_dir():
        raise BadInputError(
            f"there is no study folder {folder}; 'dojobench study create' makes one"
        )
    if not create and not path.exists():
        raise BadInputError(
            f"there is no key {path}: the study was never served ('dojobench study serve'), or its "
            "folder was copied without the key"
        )
    try:
        if not path.exists():
            _make(path)
        key = bytes.fromhex(path.read_text("ascii").strip())
    except OSError as error:
        raise BadInputError(
            f"the study's key {path} cannot be read or made: {error.strerror}"
        ) from error
    except ValueError as error:
        raise BadInputError(f"{path} is no key; it holds 64 hexadecimal digits") from error
    if len(key) < KEY_BYTES:
        raise BadInputError(f"{path} is too short to be a key; it holds 64 hexadecimal digits")
    return key


def _make(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails where another process was first, and its key stands
    except FileExistsError:
        pass
    finally:
        temporary.unlink(missing_ok=True)


class Keyring:
    """Signs and checks with keys derived from the study's key, one for each purpose."""

    def __init__(self, key: bytes) -> None:
        """Derives the keys."""
        self._key = key
        self._session = URLSafeTimedSerializer(key, salt="session")
        self._organiser = URLSafeTimedSerializer(key, salt="organiser")
        self._trial = URLSafeSerializer(key, salt="trial")
        self._entry = URLSafeSerializer(key, salt="entry")
        self._link = URLSafeSerializer(key, salt="personal link")

    def digest(self, purpose: str, text: str) -> str:
        """Gives 64 hexadecimal digits that nobody without the key can make."""
        return hmac.new(self._key, f"{purpose}\n{text}".encode(), hashlib.sha256).hexdigest()

    def session(self, rater: str) -> str:
        """Signs a rater's id for the cookie."""
        return _text(self._session.dumps(rater))

    def read_session(self, cookie: str | None) -> str | None:
        """Gives the rater of a cookie; ``None`` where it is none of ours or too old."""
        return _loads(self._session, cookie, max_age=SESSION_SECONDS)

    def organiser(self) -> str:
        """Signs the organiser's cookie."""
        return _text(self._organiser.dumps("organiser"))

    def is_organiser(self, cookie: str | None) -> bool:
        """Tells whether a cookie is the organiser's and not older than a day."""
        return _loads(self._organiser, cookie, max_age=60 * 60 * 24) == "organiser"

    def trial(self, trial: str) -> str:
        """Signs a trial's id for the form."""
        return _text(self._trial.dumps(trial))

    def read_trial(self, token: str) -> str | None:
        """Gives the trial of a token; ``None`` where it is none of ours."""
        return _loads(self._trial, token)

    def entry(self, kind: str, name: str) -> str:
        """Hides how a rater came (a panel's id, a personal link) behind a keyed hash, signed."""
        return _text(self._entry.dumps(self.digest("entry", f"{kind}\n{name}")))

    def read_entry(self, token: str) -> str | None:
        """Gives the keyed hash of an entry token; ``None`` where it is none of ours."""
        return _loads(self._entry, token)

    def link(self, name: str) -> str:
        """Makes the token of a personal link."""
        return _text(self._link.dumps(name))

    def read_link(self, token: str) -> str | None:
        """Gives the name of a personal link; ``None`` where it is none of ours."""
        return _loads(self._link, token)

    def media(self, trial: str, slot: str) -> str:
        """Names one slot of one trial; nothing in it tells which slot or file it is."""
        return trial + self.digest("media", f"{trial}\n{slot}")[:_MAC_DIGITS]

    def read_media(self, token: str) -> tuple[str, str] | None:
        """Gives trial and slot of a media name; ``None`` where it is none of ours."""
        if len(token) != _TRIAL_DIGITS + _MAC_DIGITS or not token.isascii():
            return None
        trial = token[:_TRIAL_DIGITS]
        for slot in SLOTS:
            if hmac.compare_digest(self.media(trial, slot), token):
                return trial, slot
        return None


def new_trial() -> str:
    """Makes the random id of a trial."""
    return secrets.token_hex(_TRIAL_DIGITS // 2)


def new_rater() -> str:
    """Makes the random id of a rater, derived from nothing."""
    return f"r_{secrets.token_hex(8)}"


def _text(signed: str | bytes) -> str:
    return signed if isinstance(signed, str) else signed.decode("ascii")


def _loads(serializer: Any, token: str | None, **limits: int) -> str | None:
    if not token or len(token) > 1000:
        return None
    try:
        found = serializer.loads(token, **limits)
    except BadData:
        return None
    return found if isinstance(found, str) else None
