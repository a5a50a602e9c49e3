"""What goes through the pipes between a reader and its child process: length, JSON header, raw bytes.

Nothing is pickled: a decoder that a file has taken over can hand back wrong pixels, but no code.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

LENGTH = struct.Struct('<I')
LONGEST_HEADER = 1 << 20

PAYLOAD = 'payload'
"""Key of a header that says how many raw bytes follow it."""

LOG = 'log'
"""Key of a header that carries what was logged meanwhile: pairs of level and text."""


def pack(header: Mapping[str, Any]) -> bytes:
    """Returns a header as it travels."""
    text = json.dumps(header).encode()
    return LENGTH.pack(len(text)) + text


def unpack(text: bytes) -> dict[str, Any]:
    """Returns a header from its JSON text.

    Raises:
        ValueError: If it is not a JSON object, or its payload not a length.
    """
    header = json.loads(text)
    if not isinstance(header, dict) or not isinstance(header.get(PAYLOAD, 0), int) or header.get(PAYLOAD, 0) < 0:
        raise ValueError('not a header')
    return header


def read_header(stream: BinaryIO) -> dict[str, Any] | None:
    """Waits for a header on a blocking, buffered stream; returns None at its end."""
    length = stream.read(LENGTH.size)
    if len(length) < LENGTH.size:
        return None
    return unpack(stream.read(LENGTH.unpack(length)[0]))
