"""What a container says about its video, and what its packets say: one demux pass, nothing is decoded."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fedvssl.video.container import VideoFile

if TYPE_CHECKING:
    import av

_HAS_EDIT_LISTS = 'mov,mp4,m4a,3gp,3g2,mj2'
_STORES_DURATION = 'matroska,webm'  # elsewhere there is a number of frames, or libavformat estimates the duration
_ROUNDING = 2  # ticks: timestamps may have been rounded twice
_FEWEST_TIMES = 4  # of fewer frames one cannot tell


@dataclass(frozen=True, slots=True)
class Header:
    """What packets and container say.

    Attributes:
        shown: Packets with something in them that are to be displayed.
        hidden: Packets that an edit list hides.
        cut_off: Whether the last packet ends with the file and not where it should.
        count: Number of frames in the header; 0 where there is none.
        surplus: By how many frames the duration in the header exceeds that of the packets; 0 where there is none.
    """

    shown: int
    hidden: int
    cut_off: bool
    count: int
    surplus: int

    def declared(self, frames: int) -> int:
        """Returns how many frames the container says there are, 0 if it does not say; there are really `frames`."""
        if self.count:
            return self.count
        tolerance = max(2, frames // 50)  # durations are rounded, with the last frame's own or without
        return max(frames + self.surplus, 1) if abs(self.surplus) > tolerance else 0


def read_header(video: VideoFile) -> Header:
    """Reads all packets of a video that has just been opened; leaves it at its end.

    Raises:
        Exception: What PyAV raises for damaged files.
    """
    shown = hidden = empty = 0
    cut_off, stream, spans = False, None, []
    for packet in video.packets():
        stream, cut_off = packet.stream, packet.is_corrupt
        if not packet.size:
            empty += 1
        elif packet.is_discard:
            hidden += 1
        else:
            shown += 1
        if packet.pts is not None:
            spans.append((packet.pts, packet.pts + (packet.duration or 0)))
    if stream is None:
        return Header(0, 0, False, 0, 0)
    if video.format == _HAS_EDIT_LISTS:
        # Of what an edit list hides, libavformat marks only what has to be decoded; the rest it passes over.
        hidden = max(stream.frames - shown - empty, hidden)
    return Header(shown, hidden, cut_off, stream.frames, _surplus(video.format, stream, spans))


def _surplus(container_format: str, stream: 'av.VideoStream', spans: list[tuple[int, int]]) -> int:
    container: Any = stream.container  # an input container; PyAV's types do not say so
    duration, rate, tick = container.duration, float(stream.average_rate or 0), float(stream.time_base or 0)
    # The duration is that of the longest stream.
    if container_format != _STORES_DURATION or len(container.streams) > 1 or not duration or not spans:
        return 0
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    # Some writers count from 0, some from the first frame.
    return round(min((duration / 1e6 - end * tick for end in (last, last - first)), key=abs) * rate)


def unevenness(pts: np.ndarray) -> float:
    """Returns how far a frame is from where it would be at a constant rate, at most, in frames; 0 if by rounding only.

    Nearly everything but a frame index takes frame i to be at i / rate: what counts is how far off that is, not how
    much two intervals differ. The last frame is left out: it may be a still picture that was appended.

    Args:
        pts: Timestamps (frames,), ascending, in ticks.
    """
    if len(pts) < _FEWEST_TIMES:
        return 0.0
    times = pts[:-1] - pts[0]
    interval = times[-1] / (len(times) - 1)
    away = float(np.abs(times - interval * np.arange(len(times))).max())
    return away / float(interval) if away > _ROUNDING else 0.0
