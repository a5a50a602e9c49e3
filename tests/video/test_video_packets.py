"""What the index reads in packets, byte by byte."""

import pytest

from fedvssl.video.h264 import starts_afresh
from fedvssl.video.mpeg4 import has_b_picture, is_one_picture

AVCC = bytes([1, 100, 0, 31, 0xff])  # length prefixes of four bytes


def _prefixed(*units: bytes) -> bytes:
    return b''.join(len(unit).to_bytes(4, 'big') + unit for unit in units)


@pytest.mark.parametrize(('packet', 'extradata', 'fresh'), [
    (_prefixed(b'\x06sei', b'\x65slice'), AVCC, True),
    (_prefixed(b'\x06sei', b'\x41slice'), AVCC, False),
    (b'\0\0\0\1\x67sps\0\0\1\x68pps\0\0\1\x65slice', b'', True),
    (b'\0\0\0\1\x67sps\0\0\1\x68pps\0\0\1\x41slice', b'', False),
    (b'', AVCC, False), (b'', b'', False), (b'\0\0\1', b'', False), (b'\0\0\0\0\0\0\0\0', AVCC, False),
    (b'\xff\xff\xff\xff\x41', AVCC, False)])
def test_idr_pictures(packet, extradata, fresh):
    assert starts_afresh(packet, extradata) is fresh


def _vop(kind: int, size: int = 40) -> bytes:
    return b'\0\0\1\xb6' + bytes([kind << 6]) + b'\x55' * (size - 5)


@pytest.mark.parametrize(('packet', 'one', 'b'), [
    (_vop(0), True, False), (_vop(1), True, False), (_vop(2), True, True), (_vop(3), True, False),
    (b'\0\0\1\xb0\x01' + _vop(0), True, False),  # a header before it
    (_vop(1) + _vop(2), False, False),  # packed
    (_vop(1, 19), False, False), (_vop(1, 20), True, False),  # a dummy may be as long as that
    (b'\x7f', False, False), (b'', False, False), (bytes(100), False, False), (b'\0\0\1\xb6', False, False)])
def test_mpeg4_pictures(packet, one, b):
    assert is_one_picture(packet) is one
    assert has_b_picture(packet) is b
