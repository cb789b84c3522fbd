"""Kinetics' csv files, for the generators of its lists and of its subsets' lists."""

from __future__ import annotations

from pathlib import Path

from data.dataset.lists_writer import Entry, read_table
from datareader.lists import class_key
from utils.errors import UserError

COLUMNS = ("label", "youtube_id", "time_start", "time_end")
KINETICS_400 = Path(__file__).parent / "nonlocal" / "kinetics400_labels.txt"
SPLIT_NAMES = {"train": ("train", "training"), "valid": ("val", "valid", "validate", "validation")}


def read_rows(path: str, split: str) -> list[dict[str, str]]:
    """Return the labelled rows of a csv; where it holds several splits, those of `split` ("train" or "valid")."""
    rows = []
    for where, row in read_table(path, COLUMNS):
        if not row["label"].strip():
            raise UserError(f"{where}: no label; the csv of a test set without labels cannot be used")
        rows.append({**row, "label": row["label"].strip(), "split": (row.get("split") or "").lower(), "where": where})
    if len({row["split"] for row in rows}) > 1:
        rows = [row for row in rows if row["split"].strip() in SPLIT_NAMES[split]]
    return rows


def entry_of(row: dict[str, str], labels: dict[str, int]) -> Entry:
    """Return the names that a segment's file may have and its label; UserError for a class or time not understood."""
    try:
        start, end = (int(float(row[name])) for name in ("time_start", "time_end"))
    except (ValueError, OverflowError):
        raise UserError(f"{row['where']}: time_start and time_end must be seconds") from None
    label, video = labels.get(class_key(row["label"])), row["youtube_id"].strip()
    if label is None:
        raise UserError(f"{row['where']}: unknown class {row['label']!r}; Kinetics-600 and 700 need --names_from_csv")
    return Entry((f"{video}_{start:06d}_{end:06d}", f"{video}_{start}_{end}", video), str(label), row["label"])
