"""Prepares a set of videos for loading: every one re-encoded small, with an annotation list and the frame indices.

    preparation = Preparation(root, out, Encoding(), find_lists([], root, ''), workers=8)
    with preparation.workplace() as place:
        print(*preparation.estimate(place), sep='\\n')
        preparation.run(place)
    print(*preparation.finish(), sep='\\n')

A run that is stopped, in whatever way, is continued by the next one. Bad videos are passed over, and tried again by the
next run.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from fedvssl.data.list_files import UNPRINTABLE, quoted
from fedvssl.data.prepare.table import Summary, write_or_remove
from fedvssl.data.prepare.tally import Tally, bytes_text, time_text
from fedvssl.data.prepare.video_lists import DEFAULT, VideoList, write_list_of_directories
from fedvssl.data.prepare.video_sources import Source, check_directories, look, names_below, names_in, targets
from fedvssl.data.prepare.video_store import Scratch, Store, Workplace
from fedvssl.errors import BadVideosError, ConfigError, StorageError
from fedvssl.video.transcoding.encoding import Encoding
from fedvssl.video.transcoding.transcode_pool import Job, Outcome, TranscodePool

BAD_FILE = 'bad_videos.csv'

_SAMPLE = 8  # videos, or one for each worker
_FEW = 5  # examples in a message


Progress = Callable[[Tally, Tally], None]
"""Is told what has been done, and what there is to do (as if all were good; only `good` and `read` are known)."""


class Preparation:
    """One set of videos on its way from one directory to another.

    Args:
        root: Directory of the sources.
        out: Directory of the prepared videos.
        encoding: How to store them.
        lists: What to prepare; if there are none, all videos below `root`.
        workers: How many videos at a time, at least 1.
        timeout: Seconds after which a video is given up of which nothing comes; see `TranscodePool`.

    Attributes:
        bad: By name, why a video could not be prepared.

    Raises:
        ConfigError: If the directories are in each other, or two videos would be called the same.
        DataListError: If there is nothing to prepare.
    """

    def __init__(self, root: Path, out: Path, encoding: Encoding, lists: Sequence[VideoList] = (), workers: int = 1,
                 timeout: float = 60.0) -> None:
        check_directories(root, out)
        self._root, self._out, self._encoding, self._lists = root, out, encoding, lists
        self._workers, self._pool = workers, TranscodePool(encoding, workers, timeout)
        self._names = names_in(lists) if lists else names_below(root)
        sources, self.bad = look(root, targets(self._names, encoding.suffix))
        self._todo = {source.name: source for source in sources}
        self._done: dict[str, str] = {}
        self._before = 0
        self._tally = Tally()

    def workplace(self, dry: bool = False) -> Workplace:
        """Opens the directory of prepared videos and finds out what is left to do.

        Args:
            dry: Whether to keep nothing.

        Raises:
            ConfigError: If it holds something else, or videos that are stored in another way, or another run is
                writing.
            StorageError: If it cannot be written.
        """
        place = (Scratch if dry else Store)(self._out, self._encoding)
        try:
            self._check_names(place.makers())
        except BaseException:
            place.close()
            raise
        self._done = {name: source.target for name, source in self._todo.items() if place.has(source)}
        self._todo = {name: source for name, source in self._todo.items() if name not in self._done}
        self._before = len(self._done)
        return place

    def _check_names(self, makers: Mapping[str, str]) -> None:
        """Refuses to replace what earlier runs made of other videos, which earlier lists still name."""
        for source in self._todo.values():
            other = makers.get(source.target, source.name)
            if other != source.name and (self._root / other).exists():
                raise ConfigError(f'{self._out / source.target}: was made of {quoted(other)}, and would be replaced by '
                                  f'{quoted(source.name)}; rename one of them, or choose another directory')

    def estimate(self, place: Workplace) -> list[str]:
        """Prepares a few videos, and returns what that says about all.

        Raises:
            StorageError: If a video cannot be written, or all of them will not fit.
        """
        total = Tally(len(self._todo), read=sum(source.signature.bytes for source in self._todo.values()))
        lines = [f'{len(self._names):,} videos: {len(self._done):,} done, {total.good:,} to do '
                 f'({bytes_text(total.read)})' + (f', {len(self.bad):,} missing or refused' if self.bad else '')]
        sample = _spread(list(self._todo.values()), max(_SAMPLE, self._workers))
        counted = self._transcode(place, sample)
        if not counted.read:
            return [*lines, f'no estimate: none of {len(sample)} videos could be prepared'] if sample else lines
        factor = total.read / counted.read
        needed = counted.written * factor
        lines.append(f'estimate for all, from {len(sample)} of them: {time_text(counted.cpu * factor)} of CPU time, '
                     f'{time_text(counted.wall * factor / self._workers)} with {self._workers} workers; '
                     f'{bytes_text(needed)}, {counted.written / counted.read:.2f} of the sources')
        if counted.written > counted.read and self._encoding.gop == 1:
            lines.append('note: that is more than the sources; h264 with --gop 12 takes about half of what the default '
                         'takes, a smaller --short-side less')
        free = _free(self._out)
        if needed - counted.written > free:
            raise StorageError('\n'.join([*lines, f'{self._out}: only {bytes_text(free)} are free; make room or choose '
                                                  'another directory']))
        return lines

    def run(self, place: Workplace, progress: Progress = lambda *tallies: None) -> None:
        """Prepares all that is left.

        Args:
            place: The directory of prepared videos.
            progress: Is told how far it is.

        Raises:
            StorageError: If something cannot be written.
            BackendUnavailableError: If a decoder or an encoder is missing.
        """
        self._transcode(place, list(self._todo.values()), progress)

    def _transcode(self, place: Workplace, sources: Sequence[Source],
                   progress: Progress = lambda *tallies: None) -> Tally:
        """Prepares videos, and returns what it took."""
        jobs = {Job(source.path, place.place(source), source.signature.bytes): source for source in sources}
        total, done = Tally(len(jobs), read=sum(job.size for job in jobs)), Tally()
        progress(done, total)
        with closing(self._pool.run(jobs)) as results:
            for job, outcome in results:
                done += self._taken(place, self._todo.pop(jobs[job].name), outcome)
                progress(done, total)
        self._tally += done
        return done

    def _taken(self, place: Workplace, source: Source, outcome: Outcome) -> Tally:
        if outcome.refused:
            self.bad[source.name] = outcome.refused
            return Tally(bad=1, passed=source.signature.bytes)
        written = place.keep(source, outcome)
        self._done[source.name] = source.target
        return Tally(1, 0, source.signature.bytes, 0, written, outcome.cpu, outcome.wall)

    def finish(self) -> Summary:
        """Writes the annotation lists and the list of bad videos, and says what was done.

        Raises:
            BadVideosError: If no video at all could be prepared.
            StorageError: If a list cannot be written.
        """
        write_or_remove(self._out / BAD_FILE, ['path', 'reason'],
                        [[UNPRINTABLE.sub('?', text) for text in row] for row in sorted(self.bad.items())])
        if not self._done:
            raise BadVideosError(f'none of {len(self._names):,} videos could be prepared:\n'
                                 + '\n'.join(self._examples()))
        tally = self._tally
        lines = [f'{self._out}: {len(self._done):,} videos prepared, {self._before:,} of them before']
        if tally.good:
            lines[0] += (f'; {bytes_text(tally.read)} became {bytes_text(tally.written)} in {time_text(tally.cpu)} of '
                         'CPU time')
        if self.bad:
            lines += [f'{len(self.bad):,} could not be prepared, all listed in {self._out / BAD_FILE}:',
                      *self._examples()]
        for each in self._lists:
            lines += each.write(self._out, self._done, self._encoding.suffix)
        if not self._lists:
            lines += write_list_of_directories(self._names, self._done, self._out)
        place = self._lists[0].place if self._lists else DEFAULT
        extended = any(each.extension for each in self._lists)
        return Summary(self._out / place, self._out, lines, [f'data.extension={self._encoding.suffix}'] * extended)

    def check(self, most: float) -> None:
        """Checks how many videos are bad.

        Raises:
            BadVideosError: If their share is above `most`.
        """
        share = len(self.bad) / len(self._names)
        if share > most:
            raise BadVideosError(f'{len(self.bad):,} of {len(self._names):,} videos could not be prepared '
                                 f'({share:.1%}, --max-bad {most:g}); the others are ready; see {self._out / BAD_FILE}')

    def _examples(self) -> list[str]:
        lines = [f'  {quoted(name)}: {self.bad[name]}' for name in sorted(self.bad)[:_FEW]]
        return lines + ['  ...'] * (len(self.bad) > _FEW)


def _spread(sources: Sequence[Source], count: int) -> list[Source]:
    """Returns some videos of all sizes: each stands for as many that are about as large."""
    by_size = sorted(sources, key=lambda source: (source.signature.bytes, source.name))
    count = min(count, len(by_size))
    return [by_size[(2 * number + 1) * len(by_size) // (2 * count)] for number in range(count)]


def _free(directory: Path) -> int:
    existing = next(folder for folder in (directory.absolute(), *directory.absolute().parents) if folder.is_dir())
    return shutil.disk_usage(existing).free

