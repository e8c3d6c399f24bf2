"""Step sizes that the first-order solvers share."""

import numpy as np

from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.solvers.base import Array, Smooth

GROWTH_LIMIT = 1e2
"""An objective this many times its start counts as diverged, long before it overflows."""


def scheduled(
    rate: float, schedule: str, power: float, iteration: int, penalty: ElasticNet
) -> float:
    r"""Step of an iteration: ``invscaling`` and ``optimal`` shrink it, other schedules do not.

    ``invscaling`` divides by ``(1 + t) ** power``; ``optimal`` is :math:`1 / (\lambda (t_0 + t))`,
    with :math:`\lambda` the strength of the L2 penalty and a first step of ``rate``.
    """
    if schedule == "invscaling":
        return float(rate / (1.0 + iteration) ** power)
    if schedule == "optimal":
        strength = max(float(np.max(penalty.l2())), 1e-6)
        return 1.0 / (1.0 / rate + strength * iteration)
    return rate


def mapping_norm(coef: Array, there: Smooth, penalty: ElasticNet, step: float) -> float:
    """Norm of the proximal gradient mapping, which is zero at a minimum only."""
    if not np.any(penalty.l1()):
        return float(np.linalg.norm(there.gradient))
    moved = penalty.prox(coef - step * there.gradient, step)
    return float(np.linalg.norm(coef - moved)) / step
