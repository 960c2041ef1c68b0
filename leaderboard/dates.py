"""Moments in files: ISO 8601 with a time zone."""

from datetime import UTC, datetime


def parse_date(text: str) -> datetime:
    """Reads a moment.

    Raises:
        ValueError: If it is none, or has no time zone; one sentence.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ValueError(
            "is no date with a time zone; write it like 2026-01-31T12:00:00+00:00"
        ) from None
    return found.astimezone(UTC)


def now() -> str:
    """Gives the present moment, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
