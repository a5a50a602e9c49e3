"""What a directory of prepared videos says about itself: one line of JSON says how they are stored, one for each which.

Lines are only ever appended. One that was not finished, because the machine stopped, does not count.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedvssl.errors import ConfigError
from fedvssl.video.transcoding.encoding import Encoding

RECORD_FILE = '.prepared.jsonl'
VERSION = 1
"""To be raised whenever the same options make other files: those that are there are then not gone on with."""

Entries = dict[str, dict[str, Any]]
"""By name of the source: its signature, and target, size and frames of what was made of it."""


def read_record(out: Path, encoding: Encoding) -> Entries:
    """Returns what is done in a directory.

    Raises:
        ConfigError: If it was done in another way.
    """
    try:
        data = (out / RECORD_FILE).read_bytes()
    except FileNotFoundError:
        return {}
    settings = recorded_settings(data)
    if settings is None:
        return {}
    wanted = settings_of(encoding)
    if settings != wanted:
        differing = ', '.join(f'--{name.replace("_", "-")} {settings.get(name)} and not {value}'
                              for name, value in wanted.items() if settings.get(name) != value)
        raise ConfigError(f'{out}: was prepared with {differing}; go on with the same options, choose another '
                          'directory, or delete this one')
    return {line['path']: line for line in _lines(data) if 'path' in line}


def settings_of(encoding: Encoding) -> dict[str, Any]:
    """Returns what the videos of one directory have in common."""
    return {'version': VERSION, **asdict(encoding)}


def recorded_settings(data: bytes) -> dict[str, Any] | None:
    """Returns the settings that a record begins with, if it does."""
    return next((line['settings'] for line in _lines(data) if 'settings' in line), None)


def _lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Yields the lines that are whole."""
    for text in data.splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            yield line
