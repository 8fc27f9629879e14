"""Writes a page of pictures with their labels and queries, to look at before training."""

import base64
import html
import os
from collections.abc import Iterable

import tensorflow as tf

from ctxvision._files import atomic_path
from ctxvision.data.data_check import Shown

_STYLE = """
body { font: 13px/1.35 system-ui, sans-serif; margin: 2em; color: #222; background: #fff; }
section { display: flex; flex-wrap: wrap; gap: 14px; }
figure { width: 128px; margin: 0; } img { width: 96px; height: 96px; image-rendering: auto; background: #eee; }
figcaption { overflow-wrap: anywhere; } .label { font-weight: 600; } .queries { color: #666; }
"""


def write_sheet(path: str | os.PathLike[str], title: str, shown: Iterable[Shown]) -> None:
    """Writes a self-contained HTML page.

    Args:
        path: the file to write.
        title: the title of the page.
        shown: pictures from `DataCheck.sheet`; the page groups them by split.
    """
    by_split: dict[str, list[Shown]] = {}
    for one in shown:
        by_split.setdefault(one.split, []).append(one)
    parts = [
        f"<h2>{html.escape(name)}</h2>\n<section>{_figures(ones)}</section>"
        for name, ones in by_split.items()
    ]
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head>
<body><h1>{html.escape(title)}</h1>
{chr(10).join(parts)}
</body></html>
"""
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _figures(shown: Iterable[Shown]) -> str:
    figures = []
    for one in shown:
        png = base64.b64encode(tf.io.encode_png(one.pixels).numpy()).decode()
        labels = html.escape(", ".join(one.labels))
        queries = html.escape(", ".join(one.queries))
        figures.append(
            f'<figure><img alt="{labels or queries}" src="data:image/png;base64,{png}"><figcaption>'
            f'<div class="label">{labels}</div><div class="queries">{queries}</div></figcaption></figure>'
        )
    return "\n".join(figures)
