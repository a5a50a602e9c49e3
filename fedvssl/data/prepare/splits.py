"""Which split of a data set has which video where, over all of its list files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fedvssl.data.list_files import quoted
from fedvssl.data.prepare.lists import Problems

SPLITS = ('1', '2', '3')


@dataclass
class SplitVideo:
    """A video and its part in each split so far.

    Attributes:
        class_name: Its class.
        official: What the lists call it.
        parts: Split -> part, e.g. ``'train'``.
        places: Split -> file and line.
    """

    class_name: str
    official: str
    parts: dict[str, str] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def values(self) -> tuple[str, ...]:
        """Returns the parts of the splits in their order."""
        return tuple(self.parts[split] for split in SPLITS)


class SplitTable:
    """Collects the rows of all lists; every video must be in every split exactly once."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self.videos: dict[str, SplitVideo] = {}

    def add(self, name: str, class_name: str, official: str, split: str, part: str, place: str) -> None:
        """Notes one row; `name` tells videos apart."""
        video = self.videos.setdefault(name, SplitVideo(class_name, official))
        if video.class_name != class_name:
            first = next(iter(video.places.values()))
            self._problems.add(place, f'{quoted(official)} is of class {quoted(class_name)} here, but of '
                                      f'{quoted(video.class_name)} in {first}')
        elif split in video.parts:
            self._problems.add(place, f'{quoted(official)} is already {video.parts[split]} in {video.places[split]}; '
                                      'a video is in a split once; delete one of the lines')
        else:
            video.parts[split], video.places[split] = part, place

    def check_complete(self, files: Mapping[str, Sequence[str]]) -> None:
        """Reports the videos that a split lacks.

        Args:
            files: Split -> the files that name its videos.
        """
        for video in self.videos.values():
            lacking = [split for split in SPLITS if split not in video.parts]
            if lacking:
                absent = ' nor '.join(name for split in lacking for name in files[split])
                self._problems.add(next(iter(video.places.values())),
                                   f'{quoted(video.official)} is in neither {absent}; every split has all videos, so '
                                   'one of the lists is not complete')
