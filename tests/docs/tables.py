"""Reading the tables of docs/*.md."""

from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


def rows(file: str, *, columns: int) -> list[list[str]]:
    """Return the cells of every table row of a page with so many columns, without backticks."""
    found = []
    for line in (DOCS / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("| "):
            cells = [cell.strip() for cell in line.strip("|\n ").split(" |")]
            if len(cells) == columns:
                found.append([cell.strip(" |") for cell in cells])
    return found


def code(cell: str) -> str:
    """Return what stands between the backticks of a cell."""
    return cell.strip("`")
