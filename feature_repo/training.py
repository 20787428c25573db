"""The training set, asked of Feast, and the model that is made of it, as scikit-learn has it and as ONNX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lakehouse.errors import Verification

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureStore
    from numpy.typing import NDArray

__all__ = ["QUESTION", "Model", "digest", "scores", "service_features", "train", "training_set"]

QUESTION = "SELECT * FROM departures WHERE flight_id % 4 = 0 ORDER BY flight_id"
"""Every fourth flight, in the order of time."""

TRAINED_SHARE = 0.75
"""The model learns from so much of the year and is judged by the rest: no later flight teaches it about an earlier one."""

BASELINE = ["hour", "distance"]
MISSING = -1000.0
"""What stands for a feature that is not known: no other value comes near it."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model and how well it tells late flights of the last part of the year from others.

    ``late``: whether each of these flights was late; ``scores`` and ``baseline_scores``: how likely the model, and one that
    knows only `BASELINE`, say that is. ``features`` are the columns that ``onnx`` takes as float32, in their order.
    """

    features: list[str]
    onnx: bytes
    auc: float
    baseline_auc: float
    onnx_difference: float
    late: NDArray[np.bool_]
    scores: NDArray[np.float32]
    baseline_scores: NDArray[np.float64]


def training_set(store: FeatureStore, question: str = QUESTION) -> pa.Table:
    """The flights of ``question``, each with what was known when it was about to leave."""
    return store.get_historical_features(entity_df=question, features=store.get_feature_service("lateness")).to_arrow()


def digest(rows: pa.Table) -> str:
    """The fingerprint of the rows in their order (docs/fingerprint.md): 48 hexadecimal digits."""
    from lakehouse.lrh1 import fingerprint

    numbered = rows.append_column("row_number", [np.arange(rows.num_rows)])
    return fingerprint(numbered.to_batches(), numbered.schema).digest


def service_features(store: FeatureStore) -> list[str]:
    """The features of the service, in its order, and the distance, which is asked with."""
    service = store.get_feature_service("lateness")
    return [feature.name for view in service.feature_view_projections for feature in view.features] + ["distance"]


def train(rows: pa.Table, features: list[str], *, trees: int = 60) -> Model:
    """Learn from the first part of ``rows`` and judge by the rest, with `scores` of ONNX.

    Raises `Verification` where ONNX and scikit-learn differ by more than 1e-6.
    """
    from sklearn.metrics import roc_auc_score

    late = np.asarray(rows.column("late")) == 1
    first = int(rows.num_rows * TRAINED_SHARE)
    whole, plain = _matrix(rows, features), _matrix(rows, BASELINE)
    forest = _forest(whole[:first], late[:first], trees)
    baseline = _forest(plain[:first], late[:first], trees)
    onnx = _as_onnx(forest, len(features))
    answers = scores(onnx, whole[first:])
    difference = float(np.abs(answers - forest.predict_proba(whole[first:])[:, 1]).max())
    if difference > 1e-6:
        raise Verification(f"ONNX and scikit-learn differ by {difference:.1e}, more than 1e-6")
    simple = baseline.predict_proba(plain[first:])[:, 1]
    return Model(
        features, onnx, float(roc_auc_score(late[first:], answers)), float(roc_auc_score(late[first:], simple)), difference,
        late[first:], answers, simple,
    )  # fmt: skip


def scores(onnx: bytes, rows: NDArray[np.float32] | pa.Table, features: list[str] | None = None) -> NDArray[np.float32]:
    """How likely each row is late: an array as the model takes it, or a table that has ``features``."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # sums of floats depend on their order
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    matrix = rows if isinstance(rows, np.ndarray) else _matrix(rows, features or [])
    (answer,) = session.run(["probabilities"], {"features": matrix})
    return np.asarray(answer)[:, 1]


def _matrix(rows: pa.Table, features: list[str]) -> NDArray[np.float32]:
    columns = [np.nan_to_num(rows.column(name).to_numpy().astype(np.float32), nan=MISSING) for name in features]
    return np.column_stack(columns)


def _forest(matrix: NDArray[np.float32], late: NDArray[np.bool_], trees: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(n_estimators=trees, min_samples_leaf=10, max_samples=0.2, random_state=7, n_jobs=2).fit(
        matrix, late
    )
    return forest.set_params(n_jobs=1)  # sums of floats depend on their order


def _as_onnx(forest: Any, width: int) -> bytes:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    model: Any = convert_sklearn(forest, initial_types=[("features", FloatTensorType([None, width]))], options={"zipmap": False})
    return bytes(model.SerializeToString())
