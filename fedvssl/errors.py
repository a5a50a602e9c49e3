"""Errors a user can cause and mend, each with the exit code of the tools.

An error message names the file, line, key or argument, says what was wrong and what to do. Everything else is an
internal error (exit code 1) and keeps its traceback.
"""

import difflib
from collections.abc import Iterable

INTERNAL_ERROR = 1


class FedVSSLError(Exception):
    """Base of all errors that are the input's fault; ``exit_code`` is what the tools return."""

    exit_code = INTERNAL_ERROR


class ConfigError(FedVSSLError):
    """A config file or a command-line option is wrong."""

    exit_code = 2


class DataListError(FedVSSLError):
    """An annotation file or a partition is wrong."""

    exit_code = 3


class BadVideosError(FedVSSLError):
    """More videos were unreadable than ``max_bad_videos`` allows."""

    exit_code = 4


class QuorumError(FedVSSLError):
    """Too few clients took part in a round."""

    exit_code = 5


class StorageError(FedVSSLError):
    """Something could not be written or read back."""

    exit_code = 6


class CheckpointError(FedVSSLError):
    """A checkpoint is damaged, unsafe, or of another model."""

    exit_code = 7


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; nobody's fault, and no ``except Exception`` may take it for a client's failure."""

    exit_code = 130


def error_kind(exit_code: int) -> type[FedVSSLError] | None:
    """Returns the error above that has an exit code; errors elsewhere share these codes and take other arguments."""
    kinds = (kind for kind in FedVSSLError.__subclasses__() if kind.__module__ == __name__)
    return next((kind for kind in kinds if kind.exit_code == exit_code), None)


def suggest(name: str, known: Iterable[str], count: int = 3) -> str:
    """Returns ``"; did you mean 'a' or 'b'?"`` for the names nearest to `name`, or the whole list if none is near.

    Args:
        name: What was given.
        known: What would have been accepted.
        count: How many names to offer at most.
    """
    known = sorted(set(known))
    near = difflib.get_close_matches(name, known, n=count, cutoff=0.6)
    if near:
        return '; did you mean ' + ' or '.join(repr(candidate) for candidate in near) + '?'
    return '; known: ' + (', '.join(known) if known else 'none')
