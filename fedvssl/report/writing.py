"""A comparison table as a file, of the kind that its suffix says."""

from collections.abc import Iterable
from pathlib import Path

from fedvssl.commit import write_file, write_json
from fedvssl.errors import ConfigError
from fedvssl.report.latex import latex
from fedvssl.report.rendering import figures, markdown
from fedvssl.report.table import Table

SUFFIXES = ('.md', '.tex', '.json')


def check_suffixes(files: Iterable[Path]) -> None:
    """Refuses files of a kind that tables are not written as.

    Raises:
        ConfigError: Naming the first.
    """
    for file in files:
        if file.suffix not in SUFFIXES:
            kind = file.suffix or 'a file without suffix'
            raise ConfigError(f'--out {file}: tables are not written as {kind}; take one of {", ".join(SUFFIXES)}')


def write_table(file: Path, table: Table, bold: bool = False) -> None:
    """Writes a table as Markdown, LaTeX or JSON, as a whole or not at all.

    Args:
        file: Where to; its suffix is one of `SUFFIXES`.
        table: What.
        bold: Whether the highest mean of each column is set in bold.

    Raises:
        ConfigError: If it is of another kind.
        StorageError: If it cannot be written.
    """
    check_suffixes([file])
    if file.suffix == '.json':
        write_json(file, figures(table))
    else:
        text = latex(table, bold) if file.suffix == '.tex' else markdown(table, bold)
        write_file(file, f'{text}\n'.encode())
