"""Probabilities that mean what they say: temperature scaling, calibration error, review thresholds.

Sources: Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017) for temperature and ECE.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def softmax(scores: Floats, temperature: float = 1.0) -> Floats:
    """Return the row-wise softmax of ``scores`` (texts, classes) divided by ``temperature``."""
    scaled = scores / temperature
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    raised = np.exp(scaled)
    result: Floats = raised / raised.sum(axis=-1, keepdims=True)
    return result


def sigmoid(scores: Floats) -> Floats:
    """Return the logistic function of ``scores``, each apart."""
    result: Floats = 0.5 * (1 + np.tanh(0.5 * scores))
    return result


def fit_temperature(scores: Floats, truth: Ints) -> float:
    """Return the temperature under which ``softmax(scores)`` gives ``truth`` (class indices) the least log loss."""
    grid = np.geomspace(0.05, 20, 240)
    rows = np.arange(len(truth))
    losses = [-np.log(softmax(scores, t)[rows, truth] + 1e-12).mean() for t in grid]
    return float(grid[int(np.argmin(losses))])


def fit_sigmoid(scores: Floats, truth: NDArray[np.bool_], steps: int = 100) -> tuple[float, float]:
    """Return slope and offset of Platt scaling, ``sigmoid(slope · score + offset)``, with Platt's smoothed targets."""
    positive = int(truth.sum())
    target = np.where(truth, (positive + 1) / (positive + 2), 1 / (len(truth) - positive + 2))
    design = np.column_stack([scores, np.ones(len(scores))])
    weights = np.array([1.0, 0.0])
    for _ in range(steps):
        p = sigmoid(design @ weights)
        gradient = design.T @ (p - target)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights = weights - np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-8:
            break
    return float(weights[0]), float(weights[1])


def expected_calibration_error(confidence: Floats, correct: NDArray[np.bool_], bins: int = 10) -> float:
    """Return the mean gap between confidence and accuracy over bins of equal width, weighted by their size."""
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = 0.0
    for b in range(bins):
        inside = which == b
        if inside.any():
            gap += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return float(gap)


def threshold_for_precision(confidence: Floats, correct: NDArray[np.bool_], precision: float) -> float:
    """Return the lowest confidence from which on the answers are right at least ``precision`` of the time.

    Returns a threshold above 1 when no part is that precise: then everything needs review.
    """
    order = np.argsort(-confidence, kind="stable")
    right = np.cumsum(correct[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(right >= precision)
    return float(confidence[order[good[-1]]]) if len(good) else 1.01
