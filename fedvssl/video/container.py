"""A video file as a stream of packets that are decoded one by one, through PyAV (libavformat, libavcodec)."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from fedvssl.video.errors import BackendUnavailableError, VideoDecodeError, describe
from fedvssl.video.files import check_regular_file

if TYPE_CHECKING:
    import av
    from av.codec.hwaccel import HWAccel

BACKEND = 'pyav'

# Playlists (hls, dash, concat, sdp) may name other files or hosts, `tty` makes a video of any text, and image
# sequences are not videos: a data file must not reach those demuxers.
_FORMATS = ('mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,flv,asf,ogg,gif,ivf,obu,h264,hevc,m4v,'
            'h263,vc1,dv,mxf,nut,rm,wtv,yuv4mpegpipe')
_OPTIONS = {'protocol_whitelist': 'file', 'format_whitelist': _FORMATS}


def load_av() -> ModuleType:
    """Imports PyAV.

    Raises:
        BackendUnavailableError: If it is not installed, or its libraries do not load.
    """
    try:
        import av
    except Exception as error:  # a broken wheel raises OSError or RuntimeError as well
        raise BackendUnavailableError(BACKEND, describe(error), 'pip install av') from error
    return av


class VideoFile:
    """One video stream of one file.

    Args:
        path: The file.
        hardware: What is to decode it, if not the CPU.

    Where a file has several, libavformat's choice is taken (as ffmpeg does): the one with the largest frames that is
    not a cover picture.

    Attributes:
        path: The file.
        format: Names of the container format, e.g. ``'matroska,webm'``.
        codec: Name of the codec, e.g. ``'h264'`` (never that of a particular decoder).
        strict: Whether the decoder refuses what it could only conceal.

    Raises:
        VideoDecodeError: If the file is not a video.
    """

    def __init__(self, path: Path, hardware: 'HWAccel | None' = None) -> None:
        self._av = load_av()
        self.path = path
        self.strict = True
        self._hardware = hardware
        check_regular_file(path, BACKEND)
        self._open()
        self.format: str = self._container.format.name
        self.codec: str = self.context.codec.canonical_name

    def _open(self) -> None:
        # An absolute path cannot be taken for a URL, whatever colons the name has.
        self._container: av.container.InputContainer = self._av.open(str(self.path.absolute()),
                                                                     container_options=_OPTIONS,
                                                                     hwaccel=self._hardware)
        try:
            stream = self._container.streams.best('video')
            if stream is None:
                raise VideoDecodeError(self.path, BACKEND, 'no video stream')
            for other in self._container.streams:
                if other is not stream:
                    other.discard = self._av.stream.Discard.all
            stream.codec_context.thread_count = 1
            stream.codec_context.thread_type = 'NONE'
            if self.strict:
                # By default libavcodec conceals damage with pixels of other frames, and often says nothing.
                stream.codec_context.options = {'err_detect': 'explode'}
        except BaseException:
            self._container.close()
            raise
        self._stream = stream
        self._used = False

    @property
    def context(self) -> 'av.VideoCodecContext':
        """The decoder's context."""
        return self._stream.codec_context

    @property
    def stream(self) -> int:
        """Which of the file's video streams it is, from 0."""
        return self._container.streams.video.index(self._stream)

    @property
    def tick(self) -> float:
        """Seconds from one timestamp to the next."""
        return float(self._stream.time_base or 1)

    @property
    def start(self) -> int:
        """Timestamp at which the video starts, by the container; 0 if it does not say."""
        return self._stream.start_time or 0

    @property
    def extradata(self) -> bytes:
        """What a decoder has to know beforehand."""
        return bytes(self.context.extradata or b'')

    @property
    def listed(self) -> int:
        """How many packets with something in them the file's own index lists, as far as it has been read."""
        return sum(1 for entry in self._stream.index_entries if entry.size)

    def tolerate_missing_references(self) -> None:
        """Lets the decoder get over what a stream that was cut out of a longer one refers to in vain.

        To be called before anything has been decoded.
        """
        self.strict = False
        self.context.options = {}

    def rewind(self) -> None:
        """Goes back to the first packet. Opening again is what restores every demuxer and decoder exactly."""
        if self._used:
            self._container.close()
            self._open()

    def seek(self, pts: int) -> None:
        """Goes to a key frame at or (as containers see fit) about `pts`, and forgets the decoder's state.

        Raises:
            OSError: If the container cannot (PyAV's errors are OSErrors).
        """
        self._used = True
        self._container.seek(pts, backward=True, any_frame=False, stream=self._stream)

    def packets(self) -> 'Iterator[av.Packet]':
        """Yields the packets from here to the end of the file, without PyAV's closing empty one."""
        self._used = True
        for packet in self._container.demux(self._stream):
            if packet.size or packet.pts is not None or packet.dts is not None:
                yield packet

    def decode(self, packet: 'av.Packet | None') -> 'list[av.VideoFrame]':
        """Returns the frames that a packet brings out of the decoder; None brings out what is left in it."""
        if packet is not None and packet.size == 0:  # to the decoder it would mean the end of the stream
            return []
        return self.context.decode(packet)

    def frames(self, packets: int) -> 'Iterator[av.VideoFrame]':
        """Yields all frames, in the order in which they are displayed, of so many packets from the first one on."""
        self.rewind()
        for packet in islice(self.packets(), packets):
            yield from self.decode(packet)
        yield from self.decode(None)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()
