"""Textbook formulas of the losses in decimal arithmetic: the references of values and derivatives.

A derivative needs no formula here: with so many digits a central difference gives it exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import MIN_EMIN, Context, Decimal, getcontext, localcontext

import numpy as np

from tests.checks.registry import Array

Formula = Callable[[Decimal, Sequence[Decimal]], Decimal]

# a step of 1e-25 errs by about 1e-50, and costs 25 digits
STEP = Decimal("1e-25")
EPSILON = Decimal.from_float(1.35)


def margin(y: Decimal, raw: Sequence[Decimal]) -> Decimal:
    return (2 * y - 1) * raw[0]


def log_sum_exp(terms: Sequence[Decimal]) -> Decimal:
    largest = max(terms)
    # smaller terms are far below the last digit
    near = [term - largest for term in terms if term - largest > -5 * getcontext().prec]
    return largest + sum((term.exp() for term in near), Decimal(0)).ln()


def logistic(y: Decimal, raw: Sequence[Decimal]) -> Decimal:
    # the first terms of the series of log(1 + e^-m), where the digits of 1 + e^-m would not do
    m = margin(y, raw)
    if m > 40:
        small = (-m).exp() if m < 10**5 else Decimal(0)
        return small - small**2 / 2 + small**3 / 3
    return log_sum_exp([Decimal(0), -m])


def huber(y: Decimal, raw: Sequence[Decimal]) -> Decimal:
    prediction, scale = raw
    z = abs(prediction - y) / scale
    h = z**2 if z <= EPSILON else 2 * EPSILON * z - EPSILON**2
    return (scale + h * scale) / 2


def smoothed_hinge(y: Decimal, raw: Sequence[Decimal]) -> Decimal:
    """Of width 1: a parabola from half of it before the kink to half of it behind."""
    slack, half = 1 - margin(y, raw), Decimal(1) / 2
    if slack <= -half:
        return Decimal(0)
    return (slack + half) ** 2 / 2 if slack < half else slack


FORMULAS: dict[str, Formula] = {
    "hinge": lambda y, raw: max(Decimal(0), 1 - margin(y, raw)),
    "huber": huber,
    "logistic": logistic,
    "multinomial": lambda y, raw: log_sum_exp(raw) - raw[int(y)],
    "smoothedHinge": smoothed_hinge,
    "squaredError": lambda y, raw: (raw[0] - y) ** 2 / 2,
    "squaredHinge": lambda y, raw: max(Decimal(0), 1 - margin(y, raw)) ** 2,
}


def exact(name: str, y: float, raw: Array, digits: int = 60) -> tuple[float, Array]:
    """Value and derivative of a loss of one row; more digits for raw outputs of mixed sizes."""
    formula, label = FORMULAS[name], Decimal(y)
    point = [Decimal(float(value)) for value in raw]
    with localcontext(Context(prec=digits, Emin=MIN_EMIN)):
        slopes = []
        for k, value in enumerate(point):
            step = STEP * max(abs(value), Decimal(1))
            up = formula(label, [*point[:k], value + step, *point[k + 1 :]])
            down = formula(label, [*point[:k], value - step, *point[k + 1 :]])
            slopes.append(float((up - down) / (2 * step)))
        return float(formula(label, point)), np.array(slopes)
