"""Small lists in the form of the official ones, and empty files for videos."""

import csv
import itertools
from pathlib import Path

from fedvssl.data.prepare.locate import locate
from fedvssl.data.prepare.table import write_catalogue

UCF = {'Archery': ['g01', 'g02', 'g03'], 'HammerThrow': ['g01', 'g02', 'g03'], 'Hammering': ['g01', 'g02', 'g03']}
UCF_ORDER = ['Archery', 'Hammering', 'HammerThrow']


def touch(root: Path, *names: str) -> Path:
    """Makes empty files."""
    for name in names:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return root


def ucf_names() -> list[str]:
    return [f'{name}/v_{name}_{group}_c01.avi' for name, groups in UCF.items() for group in groups]


def ucf_lists(directory: Path) -> Path:
    """Group k is the test group of split k."""
    directory.mkdir(parents=True, exist_ok=True)
    classes = ''.join(f'{number} {name}\r\n' for number, name in enumerate(UCF_ORDER, 1))
    (directory / 'classInd.txt').write_bytes(classes.encode())
    for split in '123':
        train = [f'{name} {UCF_ORDER.index(name.split("/")[0]) + 1}\r\n' for name in ucf_names()
                 if f'_g0{split}_' not in name]
        test = [f'{name}\r\n' for name in ucf_names() if f'_g0{split}_' in name]
        (directory / f'trainlist0{split}.txt').write_bytes(''.join(train).encode())
        (directory / f'testlist0{split}.txt').write_bytes(''.join(test).encode())
    return directory


HMDB = {'kick': ['#1_kick (x)_0.avi'.replace(' ', '_'), 'b[2]~;_kick_1.avi'], 'kick_ball': ['a!@&+_kick_ball_0.avi']}


def hmdb_lists(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, videos in HMDB.items():
        for split, tags in zip('123', ('12', '20', '01'), strict=True):
            lines = [f'{video} {tag} \n' for video, tag in zip(videos, tags, strict=False)]
            (directory / f'{name}_test_split{split}.txt').write_text(''.join(lines))
    return directory


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline='') as stream:
        return list(csv.DictReader(stream))


def prepared(catalogue, root: Path, **options) -> tuple[list[dict[str, str]], list[str]]:
    """Locates and writes; returns the rows of the list and what there is to say."""
    out = root / 'annotations.csv'
    summary = write_catalogue(catalogue, locate(catalogue, root, **options), root, out)
    return rows_of(out), list(summary)


def distinct_names(count: int) -> list[str]:
    return [''.join(letters) for letters in itertools.islice(itertools.product('abcdefgh', repeat=4), count)]
