"""Makes the frame index: it alone says how many frames a video has, and which one is frame i.

One demux pass collects the packets. Where their presentation timestamps are there, unique, and known to match the
frames one to one, frame i is the i-th smallest timestamp of the packets that an edit list does not discard.
Everywhere else the frames are counted: frame i is the i-th one that a decoder delivers when it starts at the first
packet. That is exact by definition, and slow.
"""

from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedvssl.video import h264, mpeg4
from fedvssl.video.container import BACKEND, VideoFile
from fedvssl.video.errors import VideoDecodeError
from fedvssl.video.index import FrameIndex

# One packet, one frame. Not VP8, whose alt-ref packets are never displayed, nor anything unknown.
_ONE_FRAME_PER_PACKET = frozenset({
    'h264', 'hevc', 'av1', 'vp9', 'mpeg1video', 'mpeg2video', 'mpeg4', 'h263', 'flv1', 'mjpeg', 'gif', 'png', 'ffv1',
    'huffyuv', 'ffvhuff', 'prores', 'dnxhd', 'rawvideo', 'dvvideo',
})
_EVERY_FRAME_IS_KEY = frozenset({'mjpeg', 'png', 'huffyuv', 'ffvhuff', 'prores', 'dnxhd', 'rawvideo', 'dvvideo'})
_STORES_PRESENTATION_TIMES = frozenset({'mov,mp4,m4a,3gp,3g2,mj2', 'matroska,webm', 'mpeg', 'mpegts', 'flv', 'gif'})


class _Packet(NamedTuple):
    position: int
    pts: int | None
    key: bool
    shown: bool
    cut_off: bool


def index_of(path: Path) -> FrameIndex:
    """Returns the index of a file.

    Raises:
        VideoDecodeError: If it is not a video, there is no frame, or packets are lost.
        Exception: What PyAV raises for damaged files.
    """
    with closing(VideoFile(path)) as video:
        return build_index(video)


def index_for(path: Path, known: FrameIndex | None, backend: str) -> FrameIndex:
    """Returns the index of a file that another backend is to decode: the known one, or a new one.

    Raises:
        VideoDecodeError: As `index_of`, in the name of that backend.
        Exception: What PyAV raises for damaged files.
    """
    try:
        return known or index_of(path)
    except VideoDecodeError as error:
        raise VideoDecodeError(path, backend, error.reason) from error


def build_index(video: VideoFile) -> FrameIndex:
    """Makes the index of a video that has just been opened; leaves it at its end.

    Raises:
        VideoDecodeError: If there is no frame, or packets are lost.
        Exception: What PyAV raises for damaged files.
    """
    # Chunks of an AVI file whose headers are damaged are passed over in silence; a file without an index lists few.
    listed = video.listed if video.format == 'avi' else 0
    packets, one_picture_each, b_pictures = _demux(video)
    if len(packets) < listed:
        raise VideoDecodeError(video.path, BACKEND, f'{listed - len(packets)} of {listed} packets are lost')
    # What the end of the file cuts off cannot be displayed, and nothing behind it needs it.
    while packets and packets[-1].cut_off:
        packets.pop()
    if not any(packet.shown for packet in packets):
        raise VideoDecodeError(video.path, BACKEND, 'no video frames')
    reason = _reason_to_count(video, packets, one_picture_each, b_pictures)
    return _counted(video, len(packets), reason) if reason else _timed(video, packets)


def _demux(video: VideoFile) -> tuple[list[_Packet], bool, bool]:
    """Returns all packets, whether each of them surely holds one picture, and whether there are MPEG-4 B-pictures."""
    packets = []
    one_picture_each, b_pictures = True, False
    for position, packet in enumerate(video.packets()):
        packets.append(_Packet(position, packet.pts, packet.is_keyframe, bool(packet.size) and not packet.is_discard,
                               packet.is_corrupt))
        if video.codec == 'h264' and position == 0 and not h264.starts_afresh(bytes(packet), video.extradata):
            video.tolerate_missing_references()
        if video.codec == 'mpeg4' and packet.size:
            data = bytes(packet)
            one_picture_each = one_picture_each and mpeg4.is_one_picture(data)
            b_pictures = b_pictures or mpeg4.has_b_picture(data)
    return packets, one_picture_each, b_pictures


def _reason_to_count(video: VideoFile, packets: list[_Packet], one_picture_each: bool, b_pictures: bool) -> str:
    """Returns why timestamps cannot tell the frames of this video apart, or nothing."""
    if video.codec not in _ONE_FRAME_PER_PACKET:
        return f'{video.codec} packets need not be frames'
    if not one_picture_each:
        return 'packed or dummy MPEG-4 packets'
    reorders = video.codec not in _EVERY_FRAME_IS_KEY and (b_pictures or video.codec != 'mpeg4')
    if reorders and not _has_presentation_times(video):
        return f'{video.format} does not store presentation timestamps'
    if not video.strict:
        return 'H.264 that starts without an IDR picture'
    if video.codec == 'h264' and video.context.field_order not in (0, 1):  # unknown, progressive
        return 'interlaced H.264 may store single fields'
    if any(packet.pts is None for packet in packets if packet.shown or packet.key):
        return 'missing timestamps'
    shown = _times(packet for packet in packets if packet.shown)
    keys = _times(packet for packet in packets if packet.key)
    if len(set(shown)) < len(shown):
        return 'repeated timestamps'
    if not packets[0].key or keys != sorted(set(keys)):
        return 'key frames out of order'
    if min(shown) < keys[0]:
        return 'frames before the first key frame'
    return ''


def _times(packets: Iterable[_Packet]) -> list[int]:
    return [packet.pts for packet in packets if packet.pts is not None]


def _has_presentation_times(video: VideoFile) -> bool:
    # A FOURCC in Matroska marks a stream taken over from AVI: its times are those of decoding.
    from_avi = video.format == 'matroska,webm' and video.context.codec_tag.strip('\0') != ''
    return video.format in _STORES_PRESENTATION_TIMES and not from_avi


def _counted(video: VideoFile, packets: int, reason: str) -> FrameIndex:
    frames = sum(1 for _ in video.frames(packets))
    if not frames:
        raise VideoDecodeError(video.path, BACKEND, 'no frame can be decoded')
    none = np.empty(0, np.int64)
    return FrameIndex(frames, packets, *_facts(video), reason, none, none, none, none, none)


def _timed(video: VideoFile, packets: list[_Packet]) -> FrameIndex:
    keys = [packet for packet in packets if packet.key]
    shown = [packet for packet in packets if packet.shown]
    pts, positions = np.array(_times(shown), np.int64), np.array([packet.position for packet in shown], np.int64)
    key_pts, key_positions = np.array(_times(keys), np.int64), np.array([packet.position for packet in keys], np.int64)
    order = np.argsort(pts)
    pts, positions = pts[order], positions[order]
    # From a key frame one can decode what is stored behind it and displayed after it: in an open GOP, frames that are
    # stored behind it and displayed before it refer to frames before it.
    starts = np.minimum(np.searchsorted(key_positions, positions, side='right'),
                        np.searchsorted(key_pts, pts, side='right')) - 1
    return FrameIndex(len(shown), len(packets), *_facts(video), '', pts, positions, starts, key_pts, key_positions)


def _facts(video: VideoFile) -> tuple[str, str, int, int, int, float, int, bool]:
    return (video.format, video.codec, video.stream, video.context.width, video.context.height, video.tick, video.start,
            video.strict)
