"""The retrieval sheet: right neighbours are framed green, wrong ones red, and the frames are the videos' own."""

import json
import shutil

import cv2
import numpy as np
import pytest

from fedvssl.errors import BadVideosError, DataListError
from fedvssl.report.retrieval_sheet import (
    ASKED,
    BORDER,
    HEIGHT,
    RIGHT,
    WIDTH,
    WRONG,
    Painter,
    Query,
    Shown,
    draw,
    fitted,
    read_neighbours,
)
from fedvssl.report.sheet import GAP, PANEL, contact_sheet
from fedvssl.video import open_video
from tests.report.test_sheet import places


def middle(file):
    with open_video(file) as video:
        return video.get([len(video) // 2])[0]


def test_frames_and_their_borders(tiny_videos):
    videos = sorted(path.relative_to(tiny_videos).as_posix() for path in (tiny_videos / 'test').iterdir())
    query = Query(Shown(videos[0], 3), [Shown(videos[1], 3, 0.5), Shown(videos[2], 4, 0.25)])
    block = Painter(tiny_videos, {3: 'walk'}).block(query)
    assert (block.name, block.caption) == (videos[0], 'class walk; 1 of 2 right')
    sheet, corners = contact_sheet(['x'], [block]), []
    for number, (video, color) in enumerate(zip(videos, (ASKED, RIGHT, WRONG), strict=False)):
        [(y, x)] = places(sheet, fitted(middle(tiny_videos / video), WIDTH, HEIGHT))
        framed = sheet[y - BORDER:y + HEIGHT + BORDER, x - BORDER:x + WIDTH + BORDER].copy()
        framed[BORDER:-BORDER, BORDER:-BORDER] = color
        assert (framed == color).all()
        assert (sheet[y, x - BORDER - 1] == PANEL).all()
        corners.append((y, x))
        assert (y, x) == (corners[0][0], corners[0][1] + number * (WIDTH + 2 * BORDER + GAP))
        assert (sheet[y + HEIGHT + BORDER:y + HEIGHT + BORDER + 18, x - BORDER:x + 40] != PANEL).any()  # its similarity


def test_text_below_pictures(tiny_videos, monkeypatch):
    said = []
    monkeypatch.setattr('fedvssl.report.retrieval_sheet.put_text', lambda canvas, text, *rest: said.append(text))
    video = next((tiny_videos / 'test').iterdir()).relative_to(tiny_videos).as_posix()
    Painter(tiny_videos, {3: 'a very long name of a class, 40 letters'}).block(
        Query(Shown(video, 3), [Shown(video, 7, 0.98765)]))
    assert said[0] == 'query' and said[1].startswith('...') and said[1].endswith('40 letters')
    assert said[2:] == ['0.988', '7']


@pytest.mark.parametrize(('height', 'width'), [(10, 40), (1080, 1920), (300, 100), (HEIGHT, WIDTH), (1, 3000)])
def test_frames_of_any_shape_are_fitted(height, width):
    picture = fitted(np.full((height, width, 3), 200, np.uint8), WIDTH, HEIGHT)
    ys, xs = np.nonzero(picture.any(axis=-1))
    tall, wide = ys.max() - ys.min() + 1, xs.max() - xs.min() + 1
    assert picture.shape == (HEIGHT, WIDTH, 3) and (tall == HEIGHT or wide == WIDTH)
    assert wide / tall == pytest.approx(width / height, rel=0.1) or tall == 1
    assert abs((ys.min() + ys.max()) - (HEIGHT - 1)) <= 1 and abs((xs.min() + xs.max()) - (WIDTH - 1)) <= 1


def borders(sheet, color):
    """Returns how many pictures have a border of a colour: each has as many pixels of it."""
    one = (WIDTH + 2 * BORDER) * (HEIGHT + 2 * BORDER) - WIDTH * HEIGHT
    return round(int((sheet == color).all(axis=-1).sum()) / one)


def test_a_real_retrieval(searched, tool, tmp_path, capsys):
    file = tmp_path / 'sheet.png'
    assert tool('retrieval-sheet', searched / 'retrieval', '--out', file, '--queries', 3, '--neighbours', 4) == 0
    assert capsys.readouterr().out == f'{file}\n'
    sheet = cv2.imread(str(file))[..., ::-1]
    assert borders(sheet, ASKED) == 3 and borders(sheet, RIGHT) + borders(sheet, WRONG) == 12
    assert sheet.shape[1] <= 1920
    draw(searched / 'retrieval', tmp_path / 'again.png', queries=3, neighbours=4)
    draw(searched / 'retrieval', tmp_path / 'other.png', queries=3, neighbours=4, seed=1)
    assert file.read_bytes() == (tmp_path / 'again.png').read_bytes() != (tmp_path / 'other.png').read_bytes()


def test_all_queries_and_what_was_found_of_each(searched, tiny_videos, tmp_path):
    queries = read_neighbours(searched / 'retrieval')
    values = json.loads((searched / 'retrieval/result.json').read_text())
    # The first neighbours say which queries are right at 1 and at 5, as the result does.
    for k in (1, 5):
        right = [any(other.label == query.video.label for other in query.neighbours[:k]) for query in queries]
        assert np.mean(right) == values['measured'][f'recall{k}']
    draw(searched / 'retrieval', tmp_path / 'x.png', queries=100, neighbours=10)
    sheet = cv2.imread(str(tmp_path / 'x.png'))[..., ::-1]
    hits = sum(Query(query.video, query.neighbours[:10]).hits for query in queries)
    assert borders(sheet, ASKED) == len(queries) == 8 and borders(sheet, RIGHT) == hits
    assert sheet.shape[1] <= 1920


def test_videos_that_moved_or_broke(searched, tiny_videos, tmp_path, caplog):
    moved = tmp_path / 'moved'
    shutil.copytree(tiny_videos, moved)
    draw(searched / 'retrieval', tmp_path / 'here.png')
    draw(searched / 'retrieval', tmp_path / 'there.png', moved)
    assert (tmp_path / 'here.png').read_bytes() == (tmp_path / 'there.png').read_bytes() and not caplog.text
    for video in (moved / 'train').iterdir():
        video.unlink()
    draw(searched / 'retrieval', tmp_path / 'there.png', moved)  # the queries are still there
    assert 'unreadable video' in caplog.text
    with pytest.raises(BadVideosError, match='nowhere: none of the videos can be read; --data-root says where'):
        draw(searched / 'retrieval', tmp_path / 'x.png', tmp_path / 'nowhere')
    assert not (tmp_path / 'x.png').exists()


def test_a_path_does_not_leave_the_data_root(searched, tiny_videos, tmp_path):
    shutil.copytree(searched / 'retrieval', tmp_path / 'run')
    entry = dict(path='../secret.mp4', label=0, neighbours=[dict(path='x.mp4', label=0, similarity=1)])
    (tmp_path / 'run/neighbours.json').write_text(json.dumps(dict(queries=[entry])))
    with pytest.raises(DataListError, match=r'contains "\.\."'):
        draw(tmp_path / 'run', tmp_path / 'x.png', tiny_videos)


@pytest.mark.parametrize('content', [None, '{', '[]', '{"queries": []}', '{"queries": [{"path": "x", "label": 1}]}',
                                     '{"queries": [{"path": "x", "label": 1, "neighbours": []}]}'])
def test_a_file_of_neighbours_that_is_of_no_use(tmp_path, content):
    if content is not None:
        (tmp_path / 'neighbours.json').write_text(content)
    with pytest.raises(DataListError, match=r'neighbours.json: cannot be used .*; evaluate.py retrieval writes it'):
        read_neighbours(tmp_path)


def test_the_tool_refuses(searched, tool, tmp_path, capsys):
    out = ('--out', tmp_path / 'x.png')
    assert tool('retrieval-sheet', searched / 'retrieval', '--queries', 0, *out) == 2
    assert tool('retrieval-sheet', searched / 'retrieval', '--neighbours', 11, *out) == 2
    assert tool('retrieval-sheet', searched / 'knn', *out) == 3
    first, second, third = capsys.readouterr().err.splitlines()
    assert first == 'error: --queries: must be at least 1, not 0'
    assert second == 'error: --neighbours: must be 1 to 10, which fit into a row, not 11' and 'neighbours.json' in third
