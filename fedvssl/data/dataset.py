"""The samples of a list of videos, and what to do about videos that cannot be read.

A sample's randomness is named by (seed, names..., index), so it does not depend on who loads it, or when. A video that
cannot be read is logged by name, counted, and replaced by another one of the same set, in an order that its own name
decides; for evaluation it is left out instead, so that no video is counted twice.

One cause is not the video's alone: its process was late, or died (`DecoderLostError`). Such videos are counted apart,
because a run in which that happened may come out differently when it is repeated.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from fedvssl import rng
from fedvssl.config import DataConfig, PhaseConfig
from fedvssl.data.annotations import UNLABELLED, Video, read_annotations, read_quarantine
from fedvssl.data.clip_pool import ClipPool
from fedvssl.data.clips import ClipReader, ClipSource
from fedvssl.data.images.dataset import ImageDataset, images_digest, read_images, read_items, split_of
from fedvssl.errors import BadVideosError, ConfigError, DataListError, suggest
from fedvssl.registry import SAMPLERS, TRANSFORMS, build
from fedvssl.video import AUTO, BACKENDS, VideoDecodeError
from fedvssl.video.errors import DecoderLostError

logger = logging.getLogger('fedvssl')

REPLACEMENTS = 8  # videos tried in place of an unreadable one


class ClipDataset:
    """Clips of a list of videos.

    Args:
        videos: The annotated videos.
        reader: How a video becomes clips.
        replace_bad: Whether an unreadable video is replaced (training) or left out (evaluation).
        clips: Where the clips come from; by default `reader`, in the thread that asks.

    Attributes:
        bad: Path and reason of every unreadable video met so far.
        lost: The paths among them where the reason was a process that was late, or died.
        read_by: How many samples each video reader delivered.
    """

    def __init__(self, videos: Sequence[Video], reader: ClipReader, replace_bad: bool = True,
                 clips: ClipSource | None = None) -> None:
        self.videos = list(videos)
        self.root, self.sampler = reader.root, reader.sampler
        self.independent_clips = reader.independent_clips
        self.replace_bad = replace_bad
        self.bad: dict[str, str] = {}
        self.lost: set[str] = set()
        self._clips = clips or reader
        self.read_by: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.videos)

    def load(self, index: int, seed: int, *names: rng.Name, among: np.ndarray | None = None) -> dict[str, Any] | None:
        """Loads one sample.

        Args:
            index: Video to load, an index into `videos`.
            seed: Seed of the run.
            names: What names the draw besides the index, e.g. client, round, epoch.
            among: Indices a replacement may come from; all by default.

        Returns:
            ``inputs`` uint8 (M, T, H, W, 3) (a tensor where frames are decoded on a device), ``target`` (the sampler's,
            or else the label) and ``seed`` (of what is drawn for the sample on the device, 0..2^63 - 1); None if the
            video is unreadable and not to be replaced.

        Raises:
            BadVideosError: If the video and all its replacements are unreadable.
        """
        sample = self._try(index, seed, *names)
        if sample is not None or not self.replace_bad:
            return sample
        pool = np.arange(len(self)) if among is None else np.asarray(among)
        for candidate in rng.generator(seed, 'replacement', *names, index).permutation(pool)[:REPLACEMENTS]:
            sample = self._try(int(candidate), seed, *names)
            if sample is not None:
                return sample
        late = '; many were late: is data.decode.timeout too short for this disk?' if len(self.lost) > 1 else ''
        raise BadVideosError(f'{self.videos[index].path} and {min(REPLACEMENTS, len(pool))} videos tried in its place '
                             f'are unreadable; first reason: {self.bad[self.videos[index].path]}{late}')

    def _try(self, index: int, seed: int, *names: rng.Name) -> dict[str, Any] | None:
        video = self.videos[index]
        if video.path in self.lost:  # it would take as long again
            return None
        try:
            clips = self._clips.read(video.path, rng.stream_seed(seed, 'sample', *names, index))
        except VideoDecodeError as error:
            # It is tried again next time: which frames are damaged may be another matter than which are drawn, and
            # what was met before must not decide a sample.
            if video.path not in self.bad:
                logger.warning('unreadable video: %s', error)
            self.bad[video.path] = str(error)
            if isinstance(error, DecoderLostError):
                self.lost.add(video.path)
            return None
        self.read_by[clips.backend] += 1
        return dict(inputs=clips.pixels, target=video.label if clips.target is None else clips.target,
                    seed=rng.stream_seed(seed, 'device', *names, index) >> 1)

    def close(self) -> None:
        """Ends the processes that read, if there are any. Nothing can be loaded any more."""
        self._clips.close()

    def check_files(self, limit: float) -> None:
        """Refuses a run that would stop because too many of its videos are not there; a look at each, no decoding.

        Args:
            limit: Accepted share, 0..1.

        Raises:
            BadVideosError: Naming the first of them.
        """
        missing = [video.path for video in self.videos if not (self.root / video.path).exists()]
        if len(missing) > limit * len(self):
            raise BadVideosError(f'{self.root}: {len(missing)} of {len(self)} videos are missing, such as '
                                 f'{missing[0]}; that is more than max_bad_videos = {limit:g} allows, see '
                                 f'tools/doctor.py data')

    def check_bad(self, limit: float, total: int | None = None) -> None:
        """Stops the run when too many videos were unreadable.

        Args:
            limit: Accepted share, 0..1.
            total: Videos the share refers to; all of the dataset by default.

        Raises:
            BadVideosError: Naming the videos and the reasons.
        """
        total = total or len(self)
        if len(self.bad) > limit * total:
            listed = ''.join(f'\n  {reason}' for reason in list(self.bad.values())[:10])
            raise BadVideosError(f'{len(self.bad)} of {total} videos are unreadable, more than max_bad_videos = '
                                 f'{limit:g} allows; mend them or take them out of the list:{listed}')


Dataset = ClipDataset | ImageDataset


def read_videos(data: DataConfig, split: str | None) -> list[Video]:
    """Reads the rows of one split of a config's annotation file, less those that are quarantined.

    Args:
        data: The config's section.
        split: Which rows; all of them if None.

    Raises:
        DataListError: If a file is wrong, naming file and line; or if the quarantine leaves nothing.
    """
    root = Path(data.root)
    if data.images is not None:
        return read_items(data, split)
    videos = read_annotations(root / data.annotations, root, label_base=data.label_base, split=split,
                              split_column=data.split_column, extension=data.extension)
    if data.quarantine is None:
        return videos
    bad = read_quarantine(root / data.quarantine)
    kept = [video for video in videos if video.path not in bad]
    logger.warning('%s names %d videos: %d of %d%s are left out', root / data.quarantine, len(bad),
                   len(videos) - len(kept), len(videos), '' if split is None else f' of split {split!r}')
    if not kept:
        raise DataListError(f'{root / data.quarantine}: leaves none of the {len(videos)} videos of split {split!r}')
    return kept


def list_digests(data: DataConfig) -> dict[str, str]:
    """Returns the SHA-256 of the files that say which videos there are: what they hold is part of a run's identity."""
    if data.images is not None:
        return {'images_sha256': images_digest(data)}
    files = dict(annotations=data.annotations, quarantine=data.quarantine)
    return {f'{key}_sha256': sha256((Path(data.root) / file).read_bytes()).hexdigest()
            for key, file in files.items() if file is not None}


def without_labels(videos: Sequence[Video]) -> list[Video]:
    """Takes the labels off, so that no mistake in a config can turn pretraining into supervised training."""
    return [replace(video, label=UNLABELLED) for video in videos]


def build_dataset(data: DataConfig, phase: PhaseConfig, videos: Sequence[Video], replace_bad: bool,
                  device: str = 'cpu') -> Dataset:
    """Builds the dataset of one phase of a config on given videos (see `build_clips`) or images (on `device`)."""
    if data.images is not None:
        return ImageDataset(videos, read_images(data, split_of(videos[0])), device)
    return build_clips(data, phase, videos, replace_bad)


def build_clips(data: DataConfig, phase: PhaseConfig, videos: Sequence[Video], replace_bad: bool) -> ClipDataset:
    """Builds the dataset of one phase of a config on given videos.

    Clips are read by processes of their own, which can be killed; not where there are to be no workers, or where frames
    are decoded on a GPU, whose memory belongs to this process.

    Raises:
        ConfigError: If the config is one of images, or a sampler, transform or reader cannot be built.
        DataListError: If there are no videos.
    """
    if data.images is not None:
        raise ConfigError('data.images: this is for videos, and the config is one of images')
    if not videos:
        raise DataListError(f'{Path(data.root) / data.annotations}: no videos in split {phase.split!r}')
    decode = data.decode
    if decode.backend not in (AUTO, *BACKENDS):
        raise ConfigError(f'data.decode.backend: unknown reader {decode.backend!r}{suggest(decode.backend, BACKENDS)}')
    reader = ClipReader(Path(data.root), build(SAMPLERS, phase.sampler, 'data sampler'),
                        [build(TRANSFORMS, cfg, 'data transforms') for cfg in phase.transforms], decode,
                        phase.independent_clips)
    in_processes = data.workers and decode.device == 'cpu'
    return ClipDataset(videos, reader, replace_bad, ClipPool(reader, decode.timeout) if in_processes else None)
