"""The confusion matrix: counts and shares by hand, what its picture shows, and what is refused."""

import json

import cv2
import numpy as np
import pytest

from fedvssl.errors import DataListError
from fedvssl.report.confusion import count, draw, picture, shares_of
from tests.report.conftest import result_values

TARGET, PREDICTED = [0, 0, 0, 1, 3], [0, 1, 1, 1, 0]
COUNTS = [[1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_golden():
    counts = count(PREDICTED, TARGET, 'x')
    np.testing.assert_array_equal(counts, COUNTS)
    np.testing.assert_allclose(shares_of(counts), [[1 / 3, 2 / 3, 0, 0], [0, 1, 0, 0], [np.nan] * 4, [1, 0, 0, 0]])


@pytest.mark.parametrize(('predicted', 'target'), [
    (None, None), ([], []), ([1], [1, 2]), (dict(a=[1]), [1]), ([1.0], [1]), ([-1], [0]), ([True], [1]), ('1', '1')])
def test_what_is_no_list_of_classes(predicted, target):
    with pytest.raises(DataListError, match='run-7: its result does not say of each test video'):
        count(predicted, target, 'run-7')


def cells(image, classes):
    """Returns the colour of each cell, beside the number in it: the axes are the square of the four spines."""
    dark = (image.max(axis=-1) < 60)
    columns, rows = (np.flatnonzero(dark.sum(axis=axis) > 0.4 * min(image.shape[:2])) for axis in (0, 1))
    left, top, bottom = columns[0], rows[0], rows[-1]
    right = columns[columns < left + bottom - top + 3][-1]  # the colour bar has outlines as well
    places = [(i + 0.12) / classes for i in range(classes)]
    return np.array([[image[round(top + y * (bottom - top)), round(left + x * (right - left))] for x in places]
                     for y in places]).astype(int)


def test_what_the_picture_shows():
    colors = cells(picture(np.array(COUNTS), {0: 'walk'}, 'title'), 4)
    dark = 765 - colors.sum(axis=-1)
    assert np.argmax(dark[0]) == 1 and dark[0, 1] > dark[0, 0] > dark[0, 2] == dark[0, 3]
    assert dark[1, 1] == dark[3, 0] > dark[0, 1]  # whole rows: the full colour
    assert (colors[2] == colors[2, :1]).all() and np.ptp(colors[2]) == 0  # no video of class 2: grey
    assert np.ptp(colors[0, 1]) > 50


@pytest.mark.parametrize('classes', [2, 8, 24, 101])
def test_every_label_has_a_line_of_its_own(classes):
    counts = np.eye(classes, dtype=int)
    image = picture(counts, {label: f'ApplyEyeMakeup {label}' for label in range(classes)}, 'title\nsecond line')
    height, width = image.shape[:2]
    assert 15 * classes < height < 15 * classes + 800 and 15 * classes < width <= 1900
    assert np.ptp(image[0]) == 0 == np.ptp(image[-1])  # nothing is cut off
    if classes <= 24:
        colors = cells(image, classes)
        dark = 765 - colors.sum(axis=-1)
        assert (dark.argmax(axis=1) == np.arange(classes)).all() and len(set(np.diag(dark))) == 1


def test_the_same_figures_make_the_same_pixels():
    first, second = (picture(np.array(COUNTS), {}, 'x') for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_of_a_fine_tuning_run(tmp_path, tool, capsys):
    values = result_values(dict(top1=0.4), n=5, last=dict(predicted=PREDICTED, target=TARGET))
    (tmp_path / 'result.json').write_text(json.dumps(values))
    assert tool('confusion', tmp_path, '--out', tmp_path / 'new/confusion.png') == 0
    assert capsys.readouterr().out == f'{tmp_path}/new/confusion.png\n'
    drawn = cv2.imread(str(tmp_path / 'new/confusion.png'))[..., ::-1]
    title = 'fine-tuned (fedvssl-finetune), seed 7\n2 of 5 test videos right, 40.0 %'
    np.testing.assert_array_equal(drawn, picture(np.array(COUNTS), {}, title))


def test_of_a_real_evaluation(searched, tmp_path):
    draw(searched / 'knn', tmp_path / 'x.png')
    values = json.loads((searched / 'knn/result.json').read_text())
    counts = count(values['predicted'], values['target'], searched)
    assert counts.trace() == sum(values['correct']['knn200_top1']) and counts.sum() == values['n'] == 8
    right = int(counts.trace())
    title = f'kNN (knn200), seed 7\n{right} of 8 test videos right, {100 * right / 8:.1f} %'
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'x.png'))[..., ::-1], picture(counts, {}, title))


def test_of_an_evaluation_without_predictions(searched, tool, tmp_path, capsys):
    assert tool('confusion', searched / 'retrieval', '--out', tmp_path / 'x.png') == 3
    assert 'does not say of each test video' in capsys.readouterr().err and not (tmp_path / 'x.png').exists()
