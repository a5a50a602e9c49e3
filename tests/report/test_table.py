"""The comparison table against calculations by hand, in its three formats, and what it refuses to compare."""

import json
from pathlib import Path

import pytest

from fedvssl.errors import ConfigError, DataListError, StorageError
from fedvssl.report.arms import gather
from fedvssl.report.latex import escaped, latex
from fedvssl.report.rendering import figures, markdown
from fedvssl.report.table import build_table
from fedvssl.report.writing import write_table
from tests.report.conftest import ENVIRONMENT

# Right (1) or wrong (0) for each of four test videos, by seed.
VCOP = {1: [1, 1, 1, 0], 2: [1, 1, 0, 0], 3: [1, 1, 1, 1]}
SCRATCH = {1: [1, 0, 0, 0], 2: [1, 1, 0, 0], 3: [1, 0, 1, 0]}


@pytest.fixture
def two_arms(evaluation, tmp_path):
    """Three seeds of two arms, fine-tuned, and kNN of one of them for two seeds."""
    for arm, runs in (('vcop_r3d', VCOP), ('scratch', SCRATCH)):
        for seed, right in runs.items():
            evaluation(f'{arm}-{seed}/finetune', dict(top1=sum(right) / 4, mean_class=0.5), seed=seed, right=right,
                       pretrained=f'/private/{seed}' if arm != 'scratch' else None)
    for seed, share in ((1, 0.25), (2, 0.5)):
        evaluation(f'vcop_r3d-{seed}/knn', dict(knn20_top1=share), seed=seed, task='knn', pretrained=f'/private/{seed}')
    return gather([tmp_path / f'{arm}-{seed}' for arm in ('vcop_r3d', 'scratch') for seed in (1, 2, 3)], {})


def test_golden(two_arms, tmp_path):
    arms = gather([tmp_path], {})
    assert [arm.name for arm in arms] == ['scratch', 'vcop_r3d']
    table = build_table(arms, 'scratch')
    # scratch: 1/4, 2/4, 2/4: mean 5/12, sd = sqrt((1/36 + 2/144) / 2) = 0.144338; vcop: 3/4, 2/4, 1: 3/4, sd 1/4.
    # Differences 1/2, 0, 1/2: t(0.975, 2) * sqrt(1/12) / sqrt(3) = 0.717109; over the videos, whose mean differences
    # are 0, 2/3, 1/3, 1/3: 1.959964 * sqrt(2/27) / 2 = 0.266717. mean_class is 1/2 everywhere.
    assert markdown(table).splitlines() == [
        '| arm | seeds | fine-tuned top-1, % | fine-tuned mean class, % | 20-NN top-1, % |',
        '| --- | --- | --- | --- | --- |',
        '| scratch | 3 | 41.7 ± 14.4 | 50.0 ± 0.0 | - |',
        '| vcop_r3d | 2-3 | 75.0 ± 25.0 | 50.0 ± 0.0 | 37.5 ± 17.7 |', '',
        '| minus scratch | figure | seeds | difference, points | over seeds | over test videos |',
        '| --- | --- | --- | --- | --- | --- |',
        '| vcop_r3d | fine-tuned top-1 | 3 | +33.3 | -38.4 to +105.0 | +6.7 to +60.0 |',
        '| vcop_r3d | fine-tuned mean class | 3 | +0.0 | +0.0 to +0.0 | - |', '',
        'fine-tuned: protocol fedvssl-finetune, 4 test videos; kNN: protocol fedvssl-knn, 4 test videos; mean ± '
        'standard deviation over the seeds an arm has (scratch: 1, 2, 3; vcop_r3d: 1, 2, 3); vcop_r3d, 20-NN top-1: 2 '
        'of 3 seeds; '
        'intervals are 95 %, paired by seed: over seeds (Student) for what other seeds would give, over test videos '
        '(normal) for what other videos would give; none is corrected for the number of comparisons.']


def test_one_task_and_the_same_seeds_need_few_words(evaluation, tmp_path):
    for seed in (7, 8):
        evaluation(f'a|b-{seed}', dict(recall1=0.5, recall50=1, rank=123.456), seed=seed, task='retrieval')
    assert markdown(build_table(gather([tmp_path], {})), bold=True).splitlines() == [
        '| arm | seeds | R@1, % | R@50, % | rank |', '| --- | --- | --- | --- | --- |',
        r'| a\|b | 2 | 50.0 ± 0.0 | 100.0 ± 0.0 | 123.5 ± 0 |', '',
        'retrieval: protocol fedvssl-retrieval, 4 test videos; mean ± standard deviation over seeds 7, 8; bold: '
        'highest mean, which need not be a difference.']


def test_one_run_has_no_spread_and_no_interval_over_seeds(evaluation, tmp_path):
    evaluation('a-7', dict(top1=0.75), right=VCOP[1])
    evaluation('b-7', dict(top1=0.25), right=SCRATCH[1])
    text = markdown(build_table(gather([tmp_path], {}), 'b'), bold=True)
    assert '| a | 1 | **75.0** |' in text and '| b | 1 | 25.0 |' in text
    # Differences 0, 1, 1, 0: s = sqrt(1/3), half = 1.959964 * s / 2 = 0.565793.
    assert '| a | top-1 | 1 | +50.0 | - | -6.6 to +106.6 |' in text
    assert 'one run each, seed 7: nothing is known of the spread' in text


def test_seeds_are_paired_where_both_arms_have_them(evaluation, tmp_path):
    for name, seed, top1 in (('a', 1, 0.5), ('a', 2, 0.75), ('b', 2, 0.25), ('b', 3, 1), ('c', 9, 1)):
        evaluation(f'{name}-{seed}', dict(top1=top1), seed=seed)
    table = build_table(gather([tmp_path], {}), 'a')
    [difference] = table.differences  # c has no seed in common with a
    assert (difference.arm, difference.comparison.seeds, difference.comparison.difference) == ('b', [2], -0.5)
    assert difference.comparison.over_videos is None  # these results do not say which videos were right


def test_videos_are_paired_only_where_they_are_the_same(evaluation, tmp_path):
    evaluation('a-7', dict(top1=0.75), right=VCOP[1])
    evaluation('b-7', dict(top1=0.25), right=SCRATCH[1], bad_videos={'x.mp4': 'damaged'})
    table = build_table(gather([tmp_path], {}), 'b')
    assert table.differences[0].comparison.over_videos is None
    assert '; 1 unreadable video left out' in markdown(table)


def test_what_the_spread_leaves_out_is_said(evaluation, tmp_path):
    for seed in (7, 8):
        evaluation(f'one-{seed}', dict(top1=1), seed=seed, pretrained='x')
        evaluation(f'each-{seed}', dict(top1=1), seed=seed, pretrained=f'x-{seed}', reproducible=seed == 7)
        evaluation(f'bits-{seed}', dict(top1=1), seed=seed, pretrained=f'x-{seed}', pretrained_sha256='0' * 64)
        evaluation(f'none-{seed}', dict(top1=1), seed=seed)
    notes = '\n'.join(build_table(gather([tmp_path], {})).notes)
    assert 'one: all 2 seeds begin with one checkpoint' in notes and 'bits: all 2 seeds' in notes
    assert 'each: all' not in notes and 'none: all' not in notes
    assert '1 of 8 runs lost a video to a deadline' in notes


@pytest.mark.parametrize(('change', 'line'), [
    (dict(protocol=dict(name='fedvssl-finetune', clips=1)), 'fine-tuned: protocol.clips: 1 or 10'),
    (dict(n=5), 'fine-tuned: n: 4 or 5'),
    (dict(lists=dict(annotations_sha256='b' * 64)), 'fine-tuned: lists.annotations_sha256: "aaaaaaaaaaaa..." or '
                                                    '"bbbbbbbbbbbb..."'),
    (dict(config=dict(seed=7, data=dict(test=dict(split='split2')))), 'fine-tuned: test_split: "split2" or "test"'),
])
def test_what_differs_in_a_column_is_refused_or_said(evaluation, tmp_path, change, line):
    evaluation('a-7', dict(top1=0.5))
    evaluation('b-7', dict(top1=0.75), **change)
    arms = gather([tmp_path], {})
    with pytest.raises(DataListError) as caught:
        build_table(arms)
    assert f'\n  {line}\n' in str(caught.value) and '--mixed' in str(caught.value)
    table = build_table(arms, 'a', mixed=True)
    assert table.warnings == [line]
    assert f'**Warning**: the runs of a column differ in more than their arm; do not compare them:\n\n- {line}' in (
        markdown(table))
    assert r'\textbf{Warning: the runs' in latex(table) and figures(table)['warnings'] == [line]


def test_protocols_of_different_names_have_columns_of_their_own(evaluation, tmp_path):
    for name, protocol, top1 in (('a', 'fedvssl', 0.5), ('b', 'cached', 0.25)):
        evaluation(f'{name}-7', dict(top1=top1), task='linear', protocol=dict(name=protocol))
    text = markdown(build_table(gather([tmp_path], {})))
    assert '| arm | seeds | linear probe (fedvssl) top-1, % | linear probe (cached) top-1, % |' in text
    assert '| a | 1 | 50.0 | - |' in text and '| b | 1 | - | 25.0 |' in text


def test_a_reference_that_is_not_there(two_arms):
    with pytest.raises(ConfigError, match="--against: no arm 'scrtch'; did you mean 'scratch'?"):
        build_table(two_arms, 'scrtch')
    with pytest.raises(ConfigError, match="--against: 'scratch' is the only arm"):
        build_table(two_arms[1:], 'scratch')


def test_some_figures_only(two_arms):
    table = build_table(two_arms, 'scratch', shown=['knn20_top1', 'top1'])
    assert [column.name for column in table.columns] == ['top1', 'knn20_top1']
    assert [difference.column.name for difference in table.differences] == ['top1']
    with pytest.raises(ConfigError, match="--figures: nobody measured 'top5'; did you mean 'top1'"):
        build_table(two_arms, shown=['top5'])


def test_latex(two_arms):
    lines = latex(build_table(two_arms, 'scratch'), bold=True).splitlines()
    assert lines[:8] == [
        r'\begin{tabular}{lrrrr}', r'\toprule',
        r'arm & seeds & fine-tuned top-1, \% & fine-tuned mean class, \% & 20-NN top-1, \% \\', r'\midrule',
        r'vcop\_r3d & 2--3 & \textbf{75.0 $\pm$ 25.0} & \textbf{50.0 $\pm$ 0.0} & 37.5 $\pm$ 17.7 \\',
        r'scratch & 3 & 41.7 $\pm$ 14.4 & \textbf{50.0 $\pm$ 0.0} & -- \\', r'\bottomrule', r'\end{tabular}']
    assert lines[8:14] == [
        r'\begin{tabular}{llrrrr}', r'\toprule',
        r'minus scratch & figure & seeds & difference, points & over seeds & over test videos \\', r'\midrule',
        r'vcop\_r3d & fine-tuned top-1 & 3 & $+$33.3 & $-$38.4 to $+$105.0 & $+$6.7 to $+$60.0 \\',
        r'vcop\_r3d & fine-tuned mean class & 3 & $+$0.0 & $+$0.0 to $+$0.0 & -- \\']
    assert lines[16].startswith(r'\par\smallskip\noindent fine-tuned: protocol fedvssl-finetune, 4 test videos; ')
    assert '95 \\%' in lines[16] and '±' not in lines[16]


def test_latex_prints_names_as_they_are():
    assert escaped(r'a_b & 50% {$x^2$} #1 ~ \n <|"') == (
        r'a\_b \& 50\% \{\$x\textasciicircum{}2\$\} \#1 \textasciitilde{} \textbackslash{}n '
        r'\textless{}\textbar{}\textquotedbl{}')
    assert escaped('Gluön\nx') == 'Gluön x'


def test_figures(two_arms):
    values = json.loads(json.dumps(figures(build_table(two_arms, 'scratch'))))
    vcop, scratch = values['arms']
    assert vcop['figures']['finetune/fedvssl-finetune/top1'] == dict(mean=0.75, sd=0.25, seeds=[1, 2, 3],
                                                                     values=[0.75, 0.5, 1.0])
    assert list(scratch['figures']) == ['finetune/fedvssl-finetune/top1', 'finetune/fedvssl-finetune/mean_class']
    run = vcop['runs'][1]
    assert (run['run'], run['seed'], run['n'], run['measured']) == ('finetune', 2, 4, dict(top1=0.5, mean_class=0.5))
    assert run['pretrained'] == '2' and '/private' not in json.dumps(values)
    assert values['environments'] == [ENVIRONMENT] and values['environments'][run['environment']]['python'] == '3.11'
    assert values['protocols']['knn/fedvssl-knn'] == dict(name='fedvssl-knn', clips=10)
    assert values['differences'][0]['per_seed'] == [0.5, 0, 0.5] and values['differences'][0]['videos'] == 4
    assert 'torch' in values['environment']['packages'] and values['reference'] == 'scratch'


def test_files_are_written_whole_or_not_at_all(two_arms, tmp_path, monkeypatch):
    table, file = build_table(two_arms), tmp_path / 'new/table.md'
    write_table(file, table)
    assert file.read_text() == markdown(table) + '\n'
    with pytest.raises(ConfigError, match=r"--out table.txt: tables are not written as .txt; take one of .md"):
        write_table(Path('table.txt'), table)
    (tmp_path / 'file').touch()
    with pytest.raises(StorageError, match='table.tex: could not be written'):
        write_table(tmp_path / 'file/table.tex', table)


def test_the_tool(tool, two_arms, tmp_path, capsys):
    files = [tmp_path / f'table{suffix}' for suffix in ('.md', '.tex', '.json')]
    assert tool('table', tmp_path / 'scratch-1', tmp_path / 'scratch-2',
                '--arm', 'VCOP & more', tmp_path / 'vcop_r3d-1', tmp_path / 'vcop_r3d-2',
                '--against', 'scratch', '--figures', 'top1,knn20_top1', '--bold',
                *(word for file in files for word in ('--out', file))) == 0
    printed = capsys.readouterr().out
    assert printed == files[0].read_text()
    assert 'mean class' not in printed
    assert '| VCOP & more | 2 | **62.5 ± 17.7** |' in printed and '| scratch | 2 | 37.5 ± 17.7 |' in printed
    assert r'VCOP \& more & 2 & \textbf{62.5 $\pm$ 17.7}' in files[1].read_text()
    assert json.loads(files[2].read_text())['arms'][1]['name'] == 'scratch'


def test_the_tool_refuses(tool, two_arms, tmp_path, capsys):
    assert tool('table', tmp_path, '--out', tmp_path / 'x.txt') == 2
    assert tool('table', tmp_path / 'missing') == 3
    assert tool('table') == 3
    assert tool('table', tmp_path, '--against', 'x') == 2
    captured = capsys.readouterr()
    assert captured.out == '' and [line.partition(':')[0] for line in captured.err.splitlines()] == ['error'] * 4
