"""Words that sentences and tables share."""


def count(number: int, noun: str) -> str:
    """Writes a number with its noun: ``1 clip``, ``12 clips``, ``1,200 frames``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
