"""Pictures (VOPs) in the packets of an MPEG-4 part 2 stream (XviD, DivX; ISO/IEC 14496-2, 6.2.5).

XviD in AVI hides two pictures in a packet and makes up for it with a dummy packet later (a "packed bitstream"), or
puts in dummies for pictures that did not change. The decoder then delivers other frames than there are packets.
"""

_VOP_START = b'\x00\x00\x01\xb6'
_B_VOP = 2

# A dummy is a few bytes; so is a real picture in which nothing moves. libavcodec draws the line here, too.
_LARGEST_DUMMY = 19


def is_one_picture(packet: bytes) -> bool:
    """Whether a packet surely holds exactly one picture."""
    return len(packet) > _LARGEST_DUMMY and packet.count(_VOP_START) == 1


def has_b_picture(packet: bytes) -> bool:
    """Whether the first picture of a packet is predicted in both directions, hence displayed before others."""
    start = packet.find(_VOP_START) + len(_VOP_START)
    return len(_VOP_START) <= start < len(packet) and packet[start] >> 6 == _B_VOP
