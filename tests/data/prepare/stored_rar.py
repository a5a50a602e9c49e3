"""RAR archives whose files are stored as they are, written and read back; enough for every program that knows RAR."""

import struct
import zlib


def rar(files: dict[str, bytes], attributes: int = 0x20, system: int = 2) -> bytes:
    """Returns a RAR 2.9 archive of stored files; `system` 2 is Windows, 3 is Unix."""
    out = b'Rar!\x1a\x07\x00' + _block(0x73, 0, bytes(6))
    for name, data in files.items():
        encoded = name.replace('/', '\\').encode()
        header = struct.pack('<IIBIIBBHI', len(data), len(data), system, zlib.crc32(data), 0x58210000, 20, 0x30,
                             len(encoded), attributes)
        out += _block(0x74, 0x8000, header + encoded) + data
    return out + _block(0x7b, 0x4000, b'')


def unrar_stored(data: bytes) -> dict[str, bytes]:
    """Reads what `rar` writes."""
    if not data.startswith(b'Rar!'):
        raise ValueError('not a RAR archive')
    files, at = {}, 20
    while data[at + 2] == 0x74:
        size, = struct.unpack_from('<H', data, at + 5)
        packed, = struct.unpack_from('<I', data, at + 7)
        length, = struct.unpack_from('<H', data, at + 26)
        name = data[at + 32:at + 32 + length].decode().replace('\\', '/')
        files[name] = data[at + size:at + size + packed]
        at += size + packed
    return files


def _block(kind: int, flags: int, body: bytes) -> bytes:
    rest = struct.pack('<BHH', kind, flags, 7 + len(body)) + body
    return struct.pack('<H', zlib.crc32(rest) & 0xffff) + rest
