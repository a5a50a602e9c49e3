"""The default backend: PyAV with our frame index; seeks where the index can check the landing, else starts over."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fedvssl.video.container import BACKEND, VideoFile, load_av
from fedvssl.video.errors import VideoDecodeError
from fedvssl.video.index import FrameIndex
from fedvssl.video.indexing import build_index
from fedvssl.video.pixels import FrameStack, to_rgb
from fedvssl.video.reader import FrameReader, Opening, Size

if TYPE_CHECKING:
    import av

# A frame leaves the decoder at most so many packets after its own one went in: 16 is the largest reorder buffer of
# H.264 and HEVC.
_LONGEST_DELAY = 32

# Decoding so many packets on is cheaper than seeking; so is passing over so many.
_WORTH_A_SEEK, _WORTH_A_SEEK_OVER = 8, 128

_FROM_THE_START = -1


class PyAVReader(FrameReader):
    """Reads with PyAV, in this thread.

    Wanted frames are taken by timestamp, in one pass from the last key frame from which they can be decoded. A frame
    that does not turn up (some streams mark key frames that need what came before) is tried again from the key frame
    before, and at last from the first packet.

    Args:
        path: The file.
        opening: Its timeout is not used: libavcodec runs in this process.

    Raises:
        VideoDecodeError: If the file is not a video or holds no frame.
        Exception: What PyAV raises for damaged files; `open_video` turns it into `VideoDecodeError`.
    """

    backend = BACKEND

    def __init__(self, path: Path, opening: Opening) -> None:
        super().__init__(path)
        self._av = load_av()
        self._video = self._file(opening)
        try:
            self.index: FrameIndex = opening.known or build_index(self._video)
            if not self.index.strict:
                self._video.tolerate_missing_references()
            self._reformatter = self._av.video.reformatter.VideoReformatter()
        except BaseException:
            self._video.close()
            raise

    def _file(self, opening: Opening) -> VideoFile:
        return VideoFile(self.path)

    def __len__(self) -> int:
        return self.index.frames

    def _close(self) -> None:
        self._video.close()

    def _decode(self, wanted: np.ndarray, size: Size | None) -> np.ndarray:
        stack = FrameStack(len(wanted), size)
        if self.index.counted:
            self._count(wanted, stack)
        else:
            for slots in self._runs(wanted):
                self._run(wanted, slots, stack)
        return stack.array()

    def _count(self, wanted: np.ndarray, stack: FrameStack) -> None:
        """Takes frames by counting from the first packet."""
        slots = {int(number): slot for slot, number in enumerate(wanted)}
        damage = _Damage()
        for number, frame in enumerate(self._video.frames(self.index.packets)):
            damaged = damage.reaches(frame)
            if number in slots:
                if damaged:
                    raise self._lost(number, 'is damaged')
                stack.put(slots.pop(number), to_rgb(frame, self._reformatter))
                if not slots:
                    return
        raise self._lost(min(slots), 'did not come out of the decoder')

    def _runs(self, wanted: np.ndarray) -> Iterator[list[int]]:
        """Splits a request into what one pass can fetch without decoding much that nobody wants.

        Yields:
            Positions in `wanted`.
        """
        index = self.index
        if not index.seekable:
            yield list(range(len(wanted)))
            return
        worth = _WORTH_A_SEEK_OVER if index.every_frame_is_key else _WORTH_A_SEEK
        run: list[int] = []
        for slot, number in enumerate(wanted):
            if run:
                skipped = index.key_positions[index.starts[number]] - index.positions[wanted[run[-1]]]
                if skipped > worth:
                    yield run
                    run = []
            run.append(slot)
        yield run

    def _run(self, wanted: np.ndarray, slots: list[int], stack: FrameStack) -> None:
        pending = {int(self.index.pts[wanted[slot]]): slot for slot in slots}
        key = int(self.index.starts[wanted[slots[0]]])
        attempts = [key, key - 1, _FROM_THE_START] if key > 0 else [0, _FROM_THE_START]
        damaged: set[int] = set()
        failure: OSError | None = None
        for attempt in attempts:
            try:
                damaged, failure = self._pass(attempt, pending, stack), None
            except self._av.error.FFmpegError as error:  # e.g. references that lie before the key frame
                damaged, failure = set(), error
            if not pending:
                return
        number = int(np.searchsorted(self.index.pts, min(pending)))
        if failure is not None:
            raise failure
        raise self._lost(number, 'is damaged' if min(pending) in damaged else 'did not come out of the decoder')

    def _pass(self, key: int, pending: dict[int, int], stack: FrameStack) -> set[int]:
        """Decodes from a key frame on, and moves the frames that turn up intact from `pending` to `stack`.

        Args:
            key: Number of the key frame, or `_FROM_THE_START`.
            pending: Timestamp and slot of the frames that are still wanted.
            stack: Where they go.

        Returns:
            Timestamps of frames that turned up damaged.
        """
        index = self.index
        last = int(index.positions[np.searchsorted(index.pts, list(pending))].max())
        packets, position, first_pts = self._packets_from(key)
        skip = key != _FROM_THE_START and index.codec == 'h264'
        only_wanted = key != _FROM_THE_START and index.every_frame_is_key
        damage, damaged = _Damage(), set()
        from_key = first_pts is None

        def take(frames: 'list[av.VideoFrame]') -> None:
            nonlocal from_key
            for frame in frames:
                # Containers may call any packet a key frame. What the decoder makes of one that is none is a guess.
                from_key = frame.key_frame or (from_key and not only_wanted)
                intact = not damage.reaches(frame)
                if frame.pts in pending and from_key:
                    if intact:
                        stack.put(pending.pop(frame.pts), to_rgb(frame, self._reformatter))
                    else:
                        damaged.add(frame.pts)

        try:
            for packet in packets:
                if position >= index.packets:
                    break
                if only_wanted and position > last:
                    break
                if only_wanted and packet.pts not in pending:
                    position += 1
                    continue
                if skip:
                    # Nothing refers to a non-reference picture, so one that nobody wants need not be decoded.
                    self._video.context.skip_frame = 'DEFAULT' if packet.pts in pending else 'NONREF'
                # In an open GOP, what is displayed before the key frame refers to what has not been decoded.
                if first_pts is None or packet.pts is None or packet.pts >= first_pts:
                    take(self._video.decode(packet))
                position += 1
                if not pending or position > last + _LONGEST_DELAY:
                    return damaged
            take(self._video.decode(None))
            return damaged
        finally:
            self._video.context.skip_frame = 'DEFAULT'

    def _packets_from(self, key: int) -> 'tuple[Iterator[av.Packet], int, int | None]':
        """Returns the packets from a key frame on, or from an earlier one; the position and the timestamp of that one.

        The timestamp is None if the packets are those from the start.
        """
        if key != _FROM_THE_START and self.index.seekable:
            try:
                self._video.seek(int(self.index.key_pts[key]))
                packets = self._video.packets()
                first = next(packets, None)
            except self._av.error.FFmpegError:  # then from the start
                first = None
            landed = self._key_of(first)
            if landed is not None and landed <= key:
                return (_chained(first, packets), int(self.index.key_positions[landed]),
                        int(self.index.key_pts[landed]))
        self._video.rewind()
        return self._video.packets(), 0, None

    def _key_of(self, packet: 'av.Packet | None') -> int | None:
        """Returns which key frame a packet is, if any."""
        if packet is None or packet.pts is None or not packet.is_keyframe:
            return None
        key = int(np.searchsorted(self.index.key_pts, packet.pts))
        return key if key < len(self.index.key_pts) and self.index.key_pts[key] == packet.pts else None

    def _lost(self, number: int, what: str) -> VideoDecodeError:
        return VideoDecodeError(self.path, self.backend, f'frame {number} of {self.index.frames} {what}')


class _Damage:
    """Follows damage through a stream: what a decoder marks as damaged spoils what comes after, to the next key frame.

    A decoder conceals damage with pixels of other frames, and marks only the frame in which it happened.
    """

    def __init__(self) -> None:
        self._spoilt = False

    def reaches(self, frame: 'av.VideoFrame') -> bool:
        """Whether this frame, the next one in the order of display, is affected."""
        if frame.is_corrupt:
            self._spoilt = True
        elif frame.key_frame:
            self._spoilt = False
        return self._spoilt


def _chained(first: 'av.Packet | None', rest: 'Iterator[av.Packet]') -> 'Iterator[av.Packet]':
    assert first is not None
    yield first
    yield from rest
