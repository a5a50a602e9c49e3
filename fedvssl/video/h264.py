"""Pictures in the packets of an H.264 stream (ITU-T H.264, 7.3.1 and annex B; ISO/IEC 14496-15 for length prefixes)."""

from collections.abc import Iterator

_IDR_SLICE = 5
_START_CODE = b'\x00\x00\x01'


def starts_afresh(packet: bytes, extradata: bytes) -> bool:
    """Whether a packet holds an IDR picture: nothing behind it refers to anything before it.

    Args:
        packet: The packet.
        extradata: The stream's configuration record; empty, or of another form, where units have start codes.
    """
    return _IDR_SLICE in _unit_types(packet, extradata)


def _unit_types(packet: bytes, extradata: bytes) -> Iterator[int]:
    if len(extradata) > 4 and extradata[0] == 1:
        prefix = (extradata[4] & 3) + 1
        place = 0
        while place + prefix < len(packet):
            yield packet[place + prefix] & 31
            place += prefix + int.from_bytes(packet[place:place + prefix], 'big')
    else:
        place = packet.find(_START_CODE)
        while 0 <= place < len(packet) - len(_START_CODE):
            yield packet[place + len(_START_CODE)] & 31
            place = packet.find(_START_CODE, place + len(_START_CODE))
