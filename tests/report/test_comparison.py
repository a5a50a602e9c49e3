"""Two arms of three seeds and four videos, against a calculation by hand."""

import json

import pytest

from fedvssl.errors import DataListError
from fedvssl.report.comparison import compare, to_json, to_markdown

FIRST = {1: [1, 1, 1, 0], 2: [1, 1, 0, 0], 3: [1, 1, 1, 1]}
SECOND = {1: [1, 0, 0, 0], 2: [1, 1, 0, 0], 3: [1, 0, 1, 0]}


@pytest.fixture
def arm(tmp_path):
    """Writes an arm's results and returns its directories, in the order given."""

    def write(name, correct):
        directories = []
        for seed, right in correct.items():
            directories.append(tmp_path / f'{name}-{seed}')
            directories[-1].mkdir()
            last = dict(top1=sum(right) / len(right), correct=right)
            result = dict(seed=seed, config_hash='c', bad_videos={}, last=last)
            (directories[-1] / 'result.json').write_text(json.dumps(result))
        return directories

    return write


def test_golden(arm):
    comparison = compare(arm('a', FIRST), arm('b', {seed: SECOND[seed] for seed in (3, 1, 2)}))
    assert (comparison.seeds, comparison.videos) == ([1, 2, 3], 4)
    assert comparison.first == [0.75, 0.5, 1] and comparison.second == [0.25, 0.5, 0.5]
    assert comparison.difference == pytest.approx(1 / 3)
    # Runs differ by 1/2, 0, 1/2: s = sqrt(1/12), t(0.975, 2) = 4.302653, half = 4.302653 * s / sqrt(3) = 0.717109.
    assert comparison.over_seeds == pytest.approx((1 / 3 - 0.717109, 1 / 3 + 0.717109), abs=1e-6)
    # Videos differ by 0, 2/3, 1/3, 1/3: s = sqrt(2/27), half = 1.959964 * s / 2 = 0.266717.
    assert comparison.over_videos == pytest.approx((1 / 3 - 0.266717, 1 / 3 + 0.266717), abs=1e-6)
    assert to_markdown(comparison, 'federated', 'scratch').splitlines() == [
        '| fine-tuned from | top-1, % | per seed |', '|---|---|---|',
        '| federated | 75.0 ± 25.0 | 75.0, 50.0, 100.0 |',
        '| scratch | 41.7 ± 14.4 | 25.0, 50.0, 50.0 |',
        '| difference | +33.3 | +50.0, +0.0, +50.0 |', '',
        '95 % interval of the difference over the 4 test videos: +6.7 to +60.0 points; '
        'over the 3 seeds (Student): -38.4 to +105.0 points.']


def test_one_seed_says_nothing_about_other_seeds(arm):
    comparison = compare(arm('a', {1: FIRST[1]}), arm('b', {1: SECOND[1]}))
    assert comparison.over_seeds is None
    table = to_markdown(comparison, 'a', 'b')
    assert '| a | 75.0 | 75.0 |' in table and 'Student' not in table


def test_what_cannot_be_paired_is_refused(arm, tmp_path):
    first, second = arm('a', FIRST), arm('b', SECOND)
    with pytest.raises(DataListError, match=r'different seeds: \[1, 2, 3\] and \[1, 2\]'):
        compare(first, second[:2])
    with pytest.raises(DataListError, match='a-1: a second result of seed 1'):
        compare([*first, first[0]], second)
    with pytest.raises(DataListError, match='different numbers of videos'):
        compare(first, arm('c', SECOND | {2: [1, 1, 0]}))


@pytest.mark.parametrize('content', [None, '{"seed": 1,', '{"seed": 1}', '[]', '{"seed": 1, "last": {"top1": 0.5}}'])
def test_a_missing_or_foreign_result_is_named(arm, tmp_path, content):
    (tmp_path / 'none').mkdir()
    if content is not None:
        (tmp_path / 'none/result.json').write_text(content)
    with pytest.raises(DataListError, match='none: holds no usable result.json') as caught:
        compare(arm('a', {1: FIRST[1]}), [tmp_path / 'none'])
    assert caught.value.exit_code == 3


def test_json_and_table(arm):
    comparison = compare(arm('a', FIRST), arm('b', SECOND))
    values = json.loads(json.dumps(to_json(comparison, 'federated', 'scratch', [0.5])))
    assert values['names'] == ['federated', 'scratch'] and values['pretext_accuracy'] == [0.5]
    assert values['first'] == [0.75, 0.5, 1.0] and values['difference'] == pytest.approx(1 / 3)
    table = to_markdown(comparison, 'a', 'b', [0.5, 0.25])
    assert table.endswith('pretext accuracy on held-out videos, %: 50.0, 25.0.')
