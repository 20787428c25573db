"""The figure of README.md: what the features are worth, at every place that they were read from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.training import Model

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

STYLES = [("#9ecae1", "-", 7.0), ("#08519c", "-", 2.0), ("#fdae6b", (0, (2, 4)), 2.0)]
GROUPS = 10


def draw(path: Path, models: Mapping[str, Model]) -> None:
    """Write the PNG ``path``: how well the model of each place finds late flights, and what its scores mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    _roc(left, models)
    _risk(right, models)
    figure.savefig(path, dpi=100)


def _roc(axes: Axes, models: Mapping[str, Model]) -> None:
    from sklearn.metrics import roc_curve

    for (title, model), (color, line, width) in zip(models.items(), STYLES, strict=False):
        false, true, _ = roc_curve(model.late, model.scores)
        axes.plot(false, true, color=color, linestyle=line, linewidth=width, label=f"{title}: AUC {model.auc:.4f}")
    model = next(iter(models.values()))
    false, true, _ = roc_curve(model.late, model.baseline_scores)
    axes.plot(false, true, color="#969696", linewidth=1.2, label=f"hour and distance alone: {model.baseline_auc:.4f}")
    axes.plot([0, 1], [0, 1], color="#d9d9d9", linewidth=0.8)
    axes.set(xlabel="flights on time that are called late", ylabel="late flights that are found", title="Three places, one model")
    axes.legend(loc="lower right", fontsize=8)


def _risk(axes: Axes, models: Mapping[str, Model]) -> None:
    for number, ((title, model), (color, _, _)) in enumerate(zip(models.items(), STYLES, strict=False)):
        groups = np.array_split(model.late[np.argsort(model.scores, kind="stable")], GROUPS)
        shares = [100 * float(group.mean()) for group in groups]
        axes.bar(np.arange(GROUPS) + 1 + 0.27 * (number - 1), shares, width=0.27, color=color, label=title)
    late = 100 * float(next(iter(models.values())).late.mean())
    axes.axhline(late, color="#969696", linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="tenth of the flights, by the model's score",
        ylabel="% that were late",
        title="A tenth with a high score is late more often",
    )
    axes.set_xticks(range(1, GROUPS + 1))
    axes.legend(loc="upper left", fontsize=8)
