"""What the doctor is to examine: the videos of a config or of a list, with their splits and clients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fedvssl import rng
from fedvssl.config import RunConfig
from fedvssl.data.annotations import Video, read_annotations, read_quarantine
from fedvssl.data.dataset import read_videos
from fedvssl.data.diagnoses import Need
from fedvssl.data.duplicates import Entry
from fedvssl.data.list_files import Faults, read_table
from fedvssl.data.partitioners import build_held_out, build_partitions, num_own_lists
from fedvssl.data.sampling import Sampler
from fedvssl.errors import ConfigError, DataListError, suggest
from fedvssl.registry import SAMPLERS, build

TRAIN, TEST = 'train', 'test'

_PLENTY = 1 << 16  # frames of a video in which any clip fits
_DRAWS = 64  # enough that each stride of a sampler comes up


@dataclass(frozen=True)
class Source:
    """What is to be examined.

    Attributes:
        entries: The videos, in the order of the list; one that is on several clients, several times.
        root: Directory their paths are relative to.
        needs: By split, how many frames a video must have.
        left_out: Paths that a quarantine has taken out before, with its reasons.
    """

    entries: Sequence[Entry]
    root: Path
    needs: Mapping[str, Need]
    left_out: Mapping[str, str] = field(default_factory=dict)


def from_config(config: RunConfig, min_frames: int = 1) -> Source:
    """Takes the videos that a config trains and tests on; those in its quarantine are out already.

    Splits are called `TRAIN` and `TEST`, whatever the list calls them; clients are there if the config divides the
    videos among clients.

    Args:
        config: The config.
        min_frames: With fewer, a video is of no use. What its samplers would like is their matter.

    Raises:
        FedVSSLError: If a list is wrong or cannot be divided, or a sampler or partition cannot be built.
    """
    data = config.data
    if data.images is not None:
        raise ConfigError('data.images: the doctor examines videos; images are checked whenever they are read')
    phases = {name: phase for name, phase in ((TRAIN, data.train), (TEST, data.test)) if phase is not None}
    videos = {name: read_videos(data, phase.split) for name, phase in phases.items()}
    entries = [Entry(video.path, name, client) for name in phases
               for video, clients in zip(videos[name], _clients(config, videos, name), strict=True)
               for client in clients or ['']]
    needs = {name: Need(min_frames, frames_wanted(build(SAMPLERS, phase.sampler, f'data.{name}.sampler')))
             for name, phase in phases.items()}
    root = Path(data.root)
    return Source(entries, root, needs, _quarantined(root / data.quarantine) if data.quarantine else {})


def _quarantined(file: Path) -> dict[str, str]:
    reasons = {row.path: row.columns.get('reason', '') for row in read_table(file, Faults(file)).rows}
    return {path: reasons.get(path, '') for path in sorted(read_quarantine(file))}


def _clients(config: RunConfig, videos: Mapping[str, Sequence[Video]], name: str) -> list[list[str]]:
    """Returns the clients of each video of a split: none where it has none to name, several where lists overlap."""
    clients: list[list[str]] = [[] for _ in videos[name]]
    evaluates = config.federation is not None and config.federation.evaluate_every > 0
    if config.data.partition is None or (name == TEST and not evaluates) or num_own_lists(config.data) is not None:
        return clients
    parts = (build_partitions(config.data, videos[TRAIN], config.seed) if name == TRAIN else
             build_held_out(config.data, videos[TRAIN], videos[TEST], config.seed))
    for client, indices in enumerate(parts):
        for index in indices:
            clients[index].append(str(client))
    return clients


def from_list(file: Path, root: Path | None = None, *, split_column: str | None = None,
              client_column: str | None = None, extension: str = '', min_frames: int = 2) -> Source:
    """Takes the videos of a list, of any split.

    Args:
        file: What `read_annotations` reads.
        root: Directory the paths are relative to; by default the list's own.
        split_column: Its values are the splits; by default the column ``split`` if there is one.
        client_column: Its values are the clients.
        extension: Appended to every path.
        min_frames: With fewer, a video is of no use.

    Raises:
        DataListError: If the list is wrong or lacks a column, or there is no such directory.
    """
    root = file.parent if root is None else root
    if not root.is_dir():
        raise DataListError(f'{root}: no such directory; it must be where the videos are')
    videos = read_annotations(file, root, extension=extension)
    known = videos[0].columns
    for column in filter(None, (split_column, client_column)):
        if column not in known:
            raise DataListError(f'{file}: no column {column!r}{suggest(column, known)}')
    splits, clients = split_column or 'split', client_column or ''
    entries = [Entry(video.path, video.columns.get(splits, ''), video.columns.get(clients, '')) for video in videos]
    return Source(entries, root, {entry.split: Need(min_frames) for entry in entries})


def frames_wanted(sampler: Sampler) -> int:
    """Returns with how many frames a video is long enough for a sampler.

    Samplers take any video: in a short one, they repeat the last frame or let clips overlap. Long enough means that at
    least one draw (with the smallest stride, say) does neither: within each clip and, where the target is how the clips
    lie, among all of them, there are as many different frames as in a long video.
    """
    most = _different_frames(sampler, _PLENTY)
    low, high = 1, _PLENTY
    while low < high:
        middle = (low + high) // 2
        if _different_frames(sampler, middle) < most:
            low = middle + 1
        else:
            high = middle
    return low


def _different_frames(sampler: Sampler, num_frames: int) -> int:
    plans = [sampler(num_frames, rng.generator(0, 'frames-wanted', draw)) for draw in range(_DRAWS)]
    return max(_different(plan.indices) if plan.target is not None else min(map(_different, plan.indices))
               for plan in plans)


def _different(indices: np.ndarray) -> int:
    return len(np.unique(indices))
