"""CPU time of loading a clip: mmaction2 on decord, or CtP's way with zips, against ours.

One clip is all that a loader's worker does for one sample: open the file, decode, resize, crop, flip; uint8 out, but
float32 with CtP. Both sides load the same frames. Ours is a run's dataset, in five variants:

- faithful: published pixels (`Resize`, `RandomCrop`), the files' frame indices kept from an earlier epoch;
- fast: `FastResizeCrop` instead;
- cold: as faithful, the first time that each file is opened;
- worker: as faithful, in a process of its own, with what it costs to get the clip from there.

Each side has a process of its own, and starts afresh in every case. What big blocks of memory cost there depends on
what a process has done before, see `measuring.keep_memory`: mmaction2 and CtP gain up to a quarter where their workers
are forked from a process that has freed such a block, which `kept_memory` stands for; our workers are not forked.

Every clip that is timed is also compared, off the clock, with what plain decoding from the first frame gives. Where a
side is wrong, that is said, and the bar is not met.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fedvssl.benchmarks.frame_check import wrong_frames
from fedvssl.benchmarks.lanes import in_turn
from fedvssl.benchmarks.loader_cases import CASES, Case
from fedvssl.benchmarks.loader_contestants import contestants
from fedvssl.benchmarks.loader_files import Files, Material, all_frames
from fedvssl.benchmarks.measuring import one_thread, spread, times_faster
from fedvssl.environment import describe_environment
from fedvssl.errors import ConfigError, suggest
from fedvssl.video import open_video

PRELOAD = ('fedvssl.benchmarks.loader_contestants', 'mmaction.datasets.transforms', 'decord', 'av')
MORE_DECODED_CLIPS = 16  # the transforms alone take less than a millisecond


def measure_loader(cases: Sequence[str] = (), clips: int = 16, repeats: int = 5, videos: Path | None = None,
                   material: Material | None = None, kept_memory: bool = False,
                   report: Callable[[str, dict[str, Any]], None] = lambda name, result: None) -> dict[str, Any]:
    """Measures the cases.

    Args:
        cases: Names in `CASES`; all of them if empty.
        clips: Clips a side loads in each repeat, the same ones every time.
        repeats: How often.
        videos: Directory of real videos; generated pictures if None.
        material: What is encoded.
        kept_memory: Whether the processes first do what `measuring.keep_memory` does.
        report: Called with each case when it is done.

    Returns:
        CPU milliseconds per clip, ratios, and what was wrong; with hardware and versions.

    Raises:
        ConfigError: If a name is unknown, a number is not positive, or mmaction2 or decord is missing.
    """
    if min(clips, repeats) < 1:
        raise ConfigError(f'clips and repeats must be positive, not {clips} and {repeats}')
    for name in cases:
        if name not in CASES:
            raise ConfigError(f'no case {name!r}{suggest(name, CASES)}')
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as directory, one_thread():
        files = Files(Path(directory), videos, material or Material())
        for name in cases or CASES:
            root = Path(directory) / f'{name} data'
            root.mkdir()
            results[name] = _measured(CASES[name], files, root, clips, repeats, kept_memory)
            report(name, results[name])
        environment = describe_environment()
    return dict(
        benchmark='loader', cases=results, files=files.facts,
        content='real videos' if videos else 'generated pictures',
        setting=dict(clips=clips, repeats=repeats, kept_memory=kept_memory, material=vars(files.material)),
        note='mean CPU time per clip of a process that does nothing else, with its threads and children; one thread '
             'each; all sides in turn in each repeat, order reversed every other one; ratios are those of the same '
             'repeat; see fedvssl/benchmarks/loader.py for the variants',
        environment=environment)


def _measured(case: Case, files: Files, root: Path, clips: int, repeats: int, kept_memory: bool) -> dict[str, Any]:
    theirs, ours = files[case.theirs], files[case.ours]
    with open_video(ours) as video:
        frames = len(video)
    wrong = {} if case.decoded else wrong_by_side(contestants(case, ours, theirs, root, clips, frames), ours, theirs,
                                                     frames)
    times = in_turn(contestants(case, ours, theirs, root, clips, frames),
                    clips * MORE_DECODED_CLIPS if case.decoded else clips, repeats, kept_memory, PRELOAD)
    other, *variants = times
    faster = {name: times_faster(times[other], times[name]) for name in variants}
    result: dict[str, Any] = dict(
        title=case.title, reads=dict(ours=case.ours, theirs=case.theirs), against=other,
        cpu_ms_per_clip={name: spread(values) for name, values in times.items()},
        times_faster=faster, bar=case.bar, judged=case.judged,
        met=faster[case.judged]['median'] >= case.bar and not any(wrong.get(name, 0) for name in variants),
        wrong_frames=wrong, frames_checked=0 if case.decoded else clips * case.pattern.frames)
    if case.known is not None:
        low, high = case.known.cpu_ms
        median = result['cpu_ms_per_clip'][other]['median']
        result['known'] = dict(cpu_ms=[low, high], source=case.known.source,
                               within_a_quarter=0.75 * low <= median <= 1.25 * high)
    return result


def wrong_by_side(sides: dict[str, Any], ours: Path, theirs: Path, frames: int) -> dict[str, int]:
    """Returns how many frames of all clips are wrong, by side.

    The first of ours makes the frame indices; the last, and the timed ones, find them in the cache.

    Args:
        sides: As `contestants` returns them.
        ours: What our sides read.
        theirs: What the other side reads.
        frames: Length of either video.
    """
    other, *variants = sides
    wrong = {other: wrong_frames(all_frames(theirs), sides[other].shown())}
    for name in reversed(variants):
        wrong[name] = wrong_frames(all_frames(ours), sides[name].shown(frames))
    return wrong
