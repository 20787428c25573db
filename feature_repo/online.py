"""The model at work: features come from the online store, and are what a training set would have."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from feature_repo.training import Model, scores, training_set
from lakehouse.errors import Verification

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore
    from numpy.typing import NDArray

__all__ = ["NOW", "Scored", "materialize", "score"]

NOW = datetime(2013, 12, 16, 22, 0, tzinfo=UTC)
"""A Monday at five in the afternoon in New York."""

SOON = """
SELECT * REPLACE (TIMESTAMPTZ '$now' AS event_timestamp) FROM departures
WHERE event_timestamp >= TIMESTAMPTZ '$now' AND event_timestamp < TIMESTAMPTZ '$now' + INTERVAL 30 MINUTE ORDER BY flight_id
"""
"""The flights that leave within half an hour, asked about now."""

BEFORE_ALL = datetime(2012, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Scored:
    """The flights that leave within half an hour, and how likely each one is late."""

    flights: pa.Table
    scores: NDArray[np.float32]


def materialize(store: FeatureStore, now: datetime = NOW) -> None:
    """Put the newest row of each key into the online store, of those that are not older than the view lets them be."""
    for view in store.list_feature_views():
        store.materialize(now - view.ttl if view.ttl else BEFORE_ALL, now, feature_views=[view.name])


def score(store: FeatureStore, model: Model, now: datetime = NOW) -> Scored:
    """Ask the online store about the flights that leave within half an hour of ``now``, and the model about them.

    Raises `Verification` where a feature is not what `training_set` says of the same flights at ``now``.
    """
    import pyarrow as pa

    offline = training_set(store, SOON.replace("$now", now.isoformat()))
    asks = offline.select(["carrier", "origin", "tailnum", "minute_of_week"]).to_pylist()
    answers = store.get_online_features(features=store.get_feature_service("lateness"), entity_rows=asks).to_dict()
    for name in model.features:
        if name in answers and answers[name] != offline.column(name).to_pylist():
            raise Verification(
                f"{name}: the online store says {answers[name]}, a training set {offline.column(name).to_pylist()}"
            )
    online = offline
    for name in answers.keys() & set(model.features):
        field = offline.schema.field(name)
        online = online.set_column(offline.schema.get_field_index(name), field, pa.array(answers[name], field.type))
    return Scored(online, scores(model.onnx, online, model.features))
