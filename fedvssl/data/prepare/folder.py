"""The user's own videos: directories say class, site, camera or person; a share of them can be held out.

Which side of the split a video is on depends on its name and the seed alone, ``u < share`` for u in [0, 1) made of
them: adding or removing videos moves no other. The share of each class is therefore that only on average. Where all
videos of a person (a site ...) must stay together, u is made of the person's name.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedvssl.data.list_files import quoted
from fedvssl.data.prepare.catalogue import in_order
from fedvssl.data.prepare.lists import Problems
from fedvssl.data.prepare.table import Summary, write_list
from fedvssl.data.prepare.walk import Found, Walk, walk
from fedvssl.errors import ConfigError, DataListError, suggest
from fedvssl.rng import stream_seed

_RESERVED = ('path', 'class', 'split')
_TRIED_SEEDS = 1000
_SURROGATE = re.compile('[\ud800-\udfff]')


@dataclass(frozen=True)
class Split:
    """How videos are held out.

    Attributes:
        share: Share of test videos, above 0 and below 1.
        by: The level whose values stay together; '' to look at each video for itself.
        seed: Chooses which.
    """

    share: float
    by: str = ''
    seed: int = 7

    def part(self, key: str) -> str:
        """Returns ``'train'`` or ``'test'`` for a name."""
        return 'test' if stream_seed(self.seed, 'test-share', key) < self.share * 2**64 else 'train'


def check(levels: Sequence[str], split: Split | None) -> None:
    """Checks the options.

    Raises:
        ConfigError: If a level has a reserved name or is there twice, or the split is not possible.
    """
    for level in levels:
        if level in _RESERVED or not level.isidentifier() or levels.count(level) > 1:
            raise ConfigError(f'--levels {" ".join(levels)}: {quoted(level)} is taken, twice there or not one word of '
                              'letters; name each level of directories once, such as: --levels site label')
    if split and not 0 < split.share < 1:
        raise ConfigError(f'--test-share {split.share}: must be above 0 and below 1')
    if split and split.by and split.by not in levels:
        raise ConfigError(f'--by {split.by}: is none of the levels{suggest(split.by, levels)}')
    if split and split.by == 'label':
        raise ConfigError('--by label: would hold whole classes out; keep another level together')


def prepare(root: Path, out: Path, levels: Sequence[str] = ('label',), split: Split | None = None,
            ignore: Collection[Path] = ()) -> Summary:
    """Lists all videos below a directory.

    Args:
        root: The directory.
        out: The list to write.
        levels: What the directories between `root` and a video mean, from the top; ``label`` is the class.
        split: Adds a column ``split``.
        ignore: Files that do not count.

    Raises:
        ConfigError: If the options do not fit together.
        DataListError: If there are no videos, if one lies at another depth, or if nothing would be left to train or
            test on.
        StorageError: If the list cannot be written.
    """
    check(levels, split)
    if not root.is_dir():
        raise DataListError(f'{root}: no such directory')
    met = walk(root, lambda folders: len(folders) == len(levels) + 1, ignore)
    videos = sorted(met.videos, key=lambda found: found.path)
    _check_places(videos, root, levels)
    places = [dict(zip(levels, found.folders, strict=bool(levels))) for found in videos]
    parts = _parts(videos, places, split)
    classes = in_order(place['label'] for place in places) if 'label' in levels else []
    further = [level for level in levels if level != 'label']
    labels = {name: label for label, name in enumerate(classes)}
    header = ['path', *(['label', 'class'] if classes else []), *further, *(['split'] if split else [])]
    rows: list[list[str | int]] = []
    for found, place, part in zip(videos, places, parts, strict=True):
        label: list[str | int] = [labels[place['label']], place['label']] if classes else []
        rows.append([found.path, *label, *(place[level] for level in further), *([part] if split else [])])
    write_list(out, root, header, rows)
    return _summary(out, root, met, places, parts, classes, further, split)


def _check_places(videos: Sequence[Found], root: Path, levels: Sequence[str]) -> None:
    if not videos:
        raise DataListError(f'{root}: holds no videos (video files, zips or directories of frames) below '
                            f'{"/".join(levels) or "it"}; check the directory and --levels')
    problems = Problems()
    for found in videos:
        if levels and len(found.folders) != len(levels):
            problems.add(quoted(found.path), f'lies {len(found.folders)} directories deep, --levels names '
                                             f'{len(levels)} ({" ".join(levels) or "none"}); move it, or name the '
                                             'levels as they are')
        elif _SURROGATE.search(found.path):
            problems.add(quoted(found.path), 'is not UTF-8; rename the file or directory')
    problems.raise_if_any(str(root))


def _parts(videos: Sequence[Found], places: Sequence[Mapping[str, str]], split: Split | None) -> list[str]:
    if split is None:
        return [''] * len(videos)
    keys = [place[split.by] if split.by else '/'.join((*found.folders, found.name))
            for found, place in zip(videos, places, strict=True)]
    parts = [split.part(key) for key in keys]
    if len(set(parts)) == 1:
        raise DataListError(f'--test-share {split.share} --seed {split.seed}: puts all {len(set(keys))} '
                            f'{split.by or "videos"} into {parts[0]}; {_other_seed(set(keys), split)}')
    return parts


def _other_seed(keys: Collection[str], split: Split) -> str:
    """Says which seed would have both sides."""
    for seed in range(split.seed + 1, split.seed + 1 + _TRIED_SEEDS):
        held_out = sum(replace(split, seed=seed).part(key) == 'test' for key in keys)
        if 0 < held_out < len(keys):
            return f'--seed {seed} would hold out {held_out}'
    return 'choose a share between, or collect more'


def _summary(out: Path, root: Path, met: Walk, places: Sequence[Mapping[str, str]], parts: Sequence[str],
             classes: Sequence[str], further: Sequence[str], split: Split | None) -> Summary:
    lines = [f'{out}: {len(places):,} videos' + (f', {len(classes):,} classes' if classes else ', no labels')]
    lines += [f'{level}: {len({place[level] for place in places}):,} values' for level in further]
    if met.links:
        lines.append(f'{len(met.links):,} symbolic links were not followed, such as {quoted(sorted(met.links)[0])}')
    if split is None:
        return Summary(out, root, lines, [])
    tested = parts.count('test')
    lines.append(f'split: {len(parts) - tested:,} train, {tested:,} test ({tested / len(parts):.1%})')
    if split.by:
        lines.append(f'test {split.by}: ' + ', '.join(sorted({place[split.by] for place, part in
                                                              zip(places, parts, strict=True) if part == 'test'})))
    lines += _one_sided(classes, Counter((place.get('label', ''), part)
                                         for place, part in zip(places, parts, strict=True)))
    return Summary(out, root, lines, ['data.split_column=split', 'data.train.split=train', 'data.test.split=test'])


def _one_sided(classes: Sequence[str], counts: Counter[tuple[str, str]]) -> list[str]:
    """Returns a line for each part that lacks classes."""
    lines = []
    for part in ('train', 'test'):
        lacking = [name for name in classes if not counts[name, part]]
        if lacking:
            lines.append(f'note: {len(lacking)} of {len(classes)} classes have no {part} videos, such as {lacking[0]} '
                         f'({sum(counts[lacking[0], each] for each in ("train", "test"))} videos); another --seed or '
                         '--test-share may do better')
    return lines
