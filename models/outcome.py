"""Whether something happens within so many days: a proportional-hazards model that adds up, feature by feature.

``P(within d days) = 1 - exp(-exp(level + Σ weight · (value - centre)) · (d / span) ** shape)``, a Weibull model
(Cox and Oakes, "Analysis of Survival Data", 1984) in the complementary log-log form. A case watched for fewer days
than the span still counts for the days it was watched, so that recent cases are learnt from too. Weights are drawn
to those of a prior model, not to zero, and keep the sign that is stated for each feature: what the data does not
show stays as the prior has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
SHAPES = (0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
# Beyond these the exponential says no more: a probability of 0 or 1.
_LOWEST, _HIGHEST = -20.0, 5.0


@dataclass(frozen=True, slots=True)
class OutcomeModel:
    """Weights per unit of each feature, the values at which they add nothing, and the log-hazard there."""

    features: tuple[str, ...]
    weights: Floats
    centres: Floats
    level: float
    span: float
    shape: float = 0.6

    def contributions(self, values: Floats) -> Floats:
        """Return what each feature adds to the log-hazard, for values of shape (…, features)."""
        result: Floats = (values - self.centres) * self.weights
        return result

    def scores(self, values: Floats) -> Floats:
        """Return the log-hazard over the span: ``level`` plus all contributions."""
        result: Floats = self.level + self.contributions(values).sum(axis=-1)
        return result

    def probabilities(self, values: Floats) -> Floats:
        """Return the probability of the outcome within the span."""
        result: Floats = -np.expm1(-np.exp(np.clip(self.scores(values), _LOWEST, _HIGHEST)))
        return result

    def within(self, days: float) -> OutcomeModel:
        """Return the model for another span of days, from the shape of the hazard over time."""
        return replace(self, level=self.level + self.shape * float(np.log(days / self.span)), span=days)

    def as_json(self) -> dict[str, Any]:
        """Return the model as plain values."""
        return {
            "features": list(self.features),
            "weights": self.weights.tolist(),
            "centres": self.centres.tolist(),
            "level": self.level,
            "span": self.span,
            "shape": self.shape,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> OutcomeModel:
        """Return the model that ``as_json`` gave."""
        weights, centres = (np.array(stored[name], dtype=np.float64) for name in ("weights", "centres"))
        return cls(tuple(stored["features"]), weights, centres, stored["level"], stored["span"], stored["shape"])


@dataclass(frozen=True, slots=True)
class Watched:
    """Cases: feature values, for how many days each was watched, and whether the outcome came in that time."""

    values: Floats
    days: Floats
    happened: Bools

    def part(self, chosen: Bools) -> Watched:
        """Return the chosen cases."""
        return Watched(self.values[chosen], self.days[chosen], self.happened[chosen])


def fit_outcome(cases: Watched, prior: OutcomeModel, signs: Sequence[int], strength: float = 0.01) -> OutcomeModel:
    """Return the model of ``cases`` nearest to ``prior``; ``signs`` holds 1, -1 or 0 (free) per feature.

    ``strength`` weighs the squared distance from the prior's weights, in units of a feature's spread, against
    the mean log-likelihood. A feature that never varies keeps the prior's weight and centre. The shape of the
    hazard over time is the likeliest of a few.
    """
    spread = cases.values.std(axis=0)
    varies = spread > 1e-9
    centres = np.where(varies, cases.values.mean(axis=0), prior.centres)
    scale = np.where(varies, spread, 1.0)
    drawn = prior.weights * scale
    design = np.where(varies, (cases.values - centres) / scale, 0.0)
    bounds = [((0, None) if sign > 0 else (None, 0) if sign < 0 else (None, None)) for sign in signs]
    fits = []
    for shape in SHAPES:
        exposure = (cases.days / prior.span) ** shape
        loss, found = _minimise(design, cases.happened, exposure, drawn, bounds, strength)
        fits.append((loss, shape, found))
    _, shape, found = min(fits, key=lambda fit: fit[0])
    return OutcomeModel(prior.features, found[:-1] / scale, centres, float(found[-1]), prior.span, shape)


def recalibrate(model: OutcomeModel, cases: Watched, slope: float | None = None) -> tuple[OutcomeModel, float]:
    """Return the model with its contributions scaled and its level set as later ``cases`` show (Platt), and the scale.

    The scale is within 0..1, contributions only ever being overstated; it is ``slope`` where that is given.
    """
    scores = (model.scores(cases.values) - model.level)[:, None]
    exposure = (cases.days / model.span) ** model.shape
    bounds = (0, 1) if slope is None else (slope, slope)
    _, found = _minimise(scores, cases.happened, exposure, np.full(1, bounds[1]), [bounds], 0.001)
    scale = float(found[0])
    return replace(model, weights=model.weights * scale, level=float(found[1])), scale


def _minimise(
    design: Floats, happened: Bools, exposure: Floats, drawn: Floats, bounds: Sequence[Any], strength: float
) -> tuple[float, Floats]:
    from scipy.optimize import minimize

    count = len(happened)

    def loss(weights: Floats) -> tuple[float, Floats]:
        hazard = np.exp(np.clip(design @ weights[:-1] + weights[-1], _LOWEST, _HIGHEST)) * exposure
        chance = -np.expm1(-hazard) + 1e-12
        likelihood = np.where(happened, np.log(chance), -hazard).sum() / count
        slope = np.where(happened, hazard * np.exp(-hazard) / chance, -hazard) / count
        away = weights[:-1] - drawn
        gradient = -np.append(design.T @ slope, slope.sum())
        gradient[:-1] += strength * away
        return -likelihood + strength / 2 * float(away @ away), gradient

    # Half an outcome more than was seen, so that none seen does not mean never.
    level = np.log((happened.sum() + 0.5) / exposure.sum())
    found = minimize(
        loss, np.append(drawn, level), jac=True, method="L-BFGS-B", bounds=[*bounds, (level - 4, level + 4)]
    )
    return float(found.fun), np.asarray(found.x, dtype=np.float64)
