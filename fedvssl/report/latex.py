"""A comparison table as LaTeX, for ``booktabs``: a ``tabular`` to put into a ``table``, its notes below."""

from collections.abc import Sequence

from fedvssl.report import rendering
from fedvssl.report.table import Table

_SPECIAL = {'\\': r'\textbackslash{}', '&': r'\&', '%': r'\%', '$': r'\$', '#': r'\#', '_': r'\_', '{': r'\{',
            '}': r'\}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}', '<': r'\textless{}',
            '>': r'\textgreater{}', '|': r'\textbar{}', '"': r'\textquotedbl{}', '±': r'$\pm$', '\n': ' '}


def escaped(text: str) -> str:
    """Returns text that LaTeX prints as it is."""
    return ''.join(_SPECIAL.get(character, character) for character in text)


def latex(table: Table, bold: bool = False) -> str:
    """Returns the table as LaTeX; it needs ``\\usepackage{booktabs}`` and, for quotes, ``[T1]{fontenc}``.

    Args:
        table: What to write.
        bold: Whether the highest mean of each column is set in bold.
    """
    header = ['arm', 'seeds', *(column.title for column in table.columns)]
    rows = []
    for arm in table.arms:
        cells = []
        for column in table.columns:
            text = _figure(rendering.cell_text(table.cells.get((arm.name, column.key)), column))
            cells.append(rf'\textbf{{{text}}}' if bold and rendering.is_best(table, arm.name, column) else text)
        rows.append([escaped(arm.name), rendering.seeds_of(table, arm.name).replace('-', '--'), *cells])
    parts = [_tabular(list(map(escaped, header)), rows)]
    if table.differences:
        differences = [[escaped(text) for text in row[:3]] + [_figure(text) for text in row[3:]]
                       for row in map(rendering.difference_row, table.differences)]
        parts.append(_tabular(list(map(escaped, rendering.difference_header(table))), differences, words=2))
    if table.warnings:
        lines = '; '.join(map(escaped, table.warnings))
        parts.append(rf'\par\smallskip\noindent\textbf{{Warning: {escaped(rendering.WARNING)}}}: {lines}.')
    parts.append(rf'\par\smallskip\noindent {escaped("; ".join(rendering.notes(table, bold)))}.')
    return '\n'.join(parts)


def _figure(text: str) -> str:
    """Returns figures in print with minus signs instead of hyphens, and a dash where there is none."""
    return '--' if text == '-' else escaped(text).replace('-', '$-$').replace('+', '$+$')


def _tabular(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Returns a tabular whose first `words` columns are flush left."""
    begin = rf'\begin{{tabular}}{{{"l" * words}{"r" * (len(header) - words)}}}'
    body = [' & '.join(row) + r' \\' for row in rows]
    return '\n'.join([begin, r'\toprule', ' & '.join(header) + r' \\', r'\midrule', *body, r'\bottomrule',
                      r'\end{tabular}'])
