"""The doctor's rules: each is a function from the facts about one file to what was found and what to do, or nothing.

An error is a video that the loader cannot use, or of which only a part is there. A warning is one that works here,
thanks to the exact frame index, and goes wrong elsewhere; or one that samplers fill up by repeating frames.
"""

from collections.abc import Callable
from dataclasses import dataclass

from fedvssl.findings import Finding, Severity
from fedvssl.video.probing.facts import Facts, Trouble

MISSING, REFUSED, TRUNCATED = 'missing', 'refused', 'truncated'

_TRIFLE = 64  # bytes: some writers miscount a header or a padding
_NOTICEABLE = 0.25  # frames off a constant rate

_FETCH_AGAIN = 'fetch it again, or leave it out'
_REMEDIES = {
    MISSING: "check the data root, the list's paths and the extension, or fetch the file",
    REFUSED: 'put a regular file there, below the data root',
    Trouble.UNDECODABLE: 'fetch it again or convert it, or leave it out',
    Trouble.NO_FRAMES: _FETCH_AGAIN,
    Trouble.DAMAGED: _FETCH_AGAIN,
    Trouble.MIXED_SIZES: 'convert it to one frame size, or leave it out',
    Trouble.HANGS: 'leave it out, or give it more time (--timeout) if it is only long',
    Trouble.CRASHES: 'convert it elsewhere, or leave it out',
}


@dataclass(frozen=True, slots=True)
class Need:
    """How many frames a video of a split must have.

    Attributes:
        required: With fewer, it is of no use: an error.
        wanted: With fewer, the sampler repeats frames: a warning.
    """

    required: int = 1
    wanted: int = 1


def _truncated(facts: Facts, need: Need) -> tuple[str, str] | None:
    lost = facts.missing_bytes
    if not lost or (lost <= _TRIFLE and not facts.trouble and not facts.cut_off):
        return None
    left = f'{facts.frames} frames are left' if facts.frames else facts.reason
    return f'the file lacks at least {lost} bytes at its end; {left}', _FETCH_AGAIN


def _useless(facts: Facts, need: Need) -> tuple[str, str] | None:
    if not facts.trouble or (facts.trouble in (Trouble.UNDECODABLE, Trouble.NO_FRAMES) and _truncated(facts, need)):
        return None
    return facts.reason, _REMEDIES[facts.trouble]


def _too_few_frames(facts: Facts, need: Need) -> tuple[str, str] | None:
    least = need.required if facts.frames < need.required else need.wanted
    if facts.frames >= least:
        return None
    return (f'{facts.frames} frame{"s" if facts.frames > 1 else ""} instead of at least {least}',
            'leave it out, or sample shorter clips; otherwise frames are repeated')


def _wrong_count(facts: Facts, need: Need) -> tuple[str, str] | None:
    if not facts.declared or facts.declared == facts.frames or facts.hidden:
        return None
    return (f'the header promises {facts.declared} frames, {facts.frames} can be displayed',
            'nothing to do here; for other readers encode it anew (ffmpeg -i IN OUT)')


def _edit_list(facts: Facts, need: Need) -> tuple[str, str] | None:
    if not facts.hidden:
        return None
    return (f'an edit list hides {facts.hidden} packets and leaves {facts.frames} frames',
            'nothing to do here; other readers count wrongly or hang, encode it anew for them (ffmpeg -i IN OUT)')


def _variable_rate(facts: Facts, need: Need) -> tuple[str, str] | None:
    if facts.uneven <= _NOTICEABLE:
        return None
    return (f'variable frame rate: a frame is up to {facts.uneven:.1f} frames from where a constant rate has it',
            'nothing to do here if strides may differ in time; else encode it anew (ffmpeg -i IN -fps_mode cfr OUT)')


Rule = Callable[[Facts, Need], tuple[str, str] | None]
"""Returns what was found and what to do."""

_RULES: dict[str, Rule] = {
    'too-few-frames': _too_few_frames, 'frame-count': _wrong_count, 'edit-list': _edit_list,
    'variable-rate': _variable_rate,
}


def judge(path: str, facts: Facts, need: Need) -> list[Finding]:
    """Returns the findings about one file; of one that cannot be used, only why."""
    errors = [Finding(Severity.ERROR, kind, path, *found)
              for kind, rule in ((TRUNCATED, _truncated), (facts.trouble, _useless)) if (found := rule(facts, need))]
    if errors:
        return errors
    severities = {'too-few-frames': Severity.ERROR if facts.frames < need.required else Severity.WARNING}
    return [Finding(severities.get(kind, Severity.WARNING), kind, path, *found)
            for kind, rule in _RULES.items() if (found := rule(facts, need))]
