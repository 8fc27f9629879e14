"""Draws recall against speed."""

from pathlib import Path

from .records import Record

BATCHES = (1, 32)
LEFT_OUT = "tensorflow-overhead"


def draw(records: list[Record], data: str, rows: int, file: Path) -> None:
    """Draws one panel per batch size, with a line for each method over its settings and a point for each exact method.

    Args:
        records: the records of these data and rows.
        data: name of the data.
        rows: the number of rows.
        file: the PNG file to write.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(BATCHES), figsize=(12, 5), constrained_layout=True)
    drawn = [r for r in records if r["method"] != LEFT_OUT and "skipped" not in r]
    methods = dict.fromkeys(r["method"] for r in drawn)
    for panel, batch in zip(panels, BATCHES):
        for number, method in enumerate(methods):
            points = sorted(
                (r["recall_at_3"], r["queries_per_second"], r["chosen"])
                for r in drawn
                if r["method"] == method and r["batch"] == batch
            )
            recalls, speeds, tuned = zip(*points)
            marker = "os^vDP*Xh<>"[number % 11]
            (line,) = panel.plot(recalls, speeds, marker=marker, markersize=5, label=method)
            at = tuned.index(True)
            panel.plot(recalls[at], speeds[at], marker=marker, markersize=10, color=line.get_color())
        panel.axvline(0.95, color="grey", linewidth=0.8, linestyle=":")
        panel.set(yscale="log", xlabel="recall@3", ylabel="queries a second", title=f"batch {batch}")
        panel.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
    figure.suptitle(f"{rows:,} rows of {data}, 64 dimensions (large marks: tuned to recall 0.95)")
    figure.savefig(file, dpi=110)
