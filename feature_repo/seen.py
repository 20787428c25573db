"""What a Feast repository gives, so that one place can be held against another."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feature_repo.online import NOW, Scored, materialize, score
from feature_repo.repository import applied, held
from feature_repo.training import QUESTION, Model, digest, service_features, train, training_set
from lakehouse.errors import Verification

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Seen", "refuse_differences", "see"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a repository gave: its ``definitions`` as in `held`, its training set's ``rows`` and `digest`, what came of that."""

    definitions: dict[str, str]
    rows: int
    columns: int
    training_set: str
    model: Model
    scored: Scored

    def facts(self) -> dict[str, str]:
        """What must be the same wherever the datasets lie, by name."""
        definitions = "\n".join(f"{name} {sha256}" for name, sha256 in self.definitions.items())
        return {
            "sources, views and service in the registry": hashlib.sha256(definitions.encode()).hexdigest(),
            "training set": self.training_set,
            "AUC": f"{self.model.auc:.6f}",
            "AUC of hour and distance alone": f"{self.model.baseline_auc:.6f}",
            "ONNX predictions": _sha256(self.model.scores),
            "predictions from the online store": _sha256(self.scored.scores),
        }


def see(folder: Path, *, question: str = QUESTION, trees: int = 60, now: datetime = NOW) -> Seen:
    """Apply the repository in ``folder``, make its training set, learn, fill the online store and score from it."""
    store = applied(folder)
    rows = training_set(store, question)
    model = train(rows, service_features(store), trees=trees)
    materialize(store, now)
    return Seen(held(store), rows.num_rows, rows.num_columns, digest(rows), model, score(store, model, now))


def refuse_differences(first: Seen, other: Seen) -> None:
    """Raises `Verification` with the first of `Seen.facts` that is not the same."""
    expected = first.facts()
    for name, found in other.facts().items():
        if found != expected[name]:
            raise Verification(f"{name}: {expected[name]} before the move, {found} after it")


def _sha256(scores: NDArray[np.float32]) -> str:
    return hashlib.sha256(scores.tobytes()).hexdigest()
