"""Early stopping: when the loss over rows that were held out no longer falls."""

from dataclasses import dataclass, replace

from sparkml_lsml.engine.solvers.base import Array, Best


@dataclass(frozen=True)
class EarlyStopping:
    r"""Stop once the validation loss has not improved for some iterations in a row.

    An iteration improves where it lowers the least validation loss so far, b, to v with
    :math:`b - v > tol \cdot v`. The coefficients of the least loss are kept, whether or not the
    iteration counted as an improvement.

    Parameters
    ----------
    patience : int
        Iterations in a row without improvement, >= 1.
    tol : float
        Least improvement, relative to the loss, >= 0; as ``validationTol`` of MLlib's boosted
        trees, where patience is 1.

    References
    ----------
    Prechelt (1998), Early stopping - but when?, in Neural Networks: Tricks of the Trade.

    Examples
    --------
    >>> import numpy as np
    >>> rule, best = EarlyStopping(patience=2), None
    >>> for iteration, loss in enumerate([0.7, 0.5, 0.6, 0.5]):
    ...     best = rule.record(best, np.array([iteration]), 0.0, iteration, loss)
    >>> best.iteration, best.waited, rule.stops(best)
    (1, 2, True)
    """

    patience: int = 5
    tol: float = 0.0

    def record(
        self, best: Best | None, coef: Array, objective: float, iteration: int, loss: float
    ) -> Best:
        """The best iteration after one more, whose validation loss is ``loss``."""
        if best is None:
            return Best(coef, objective, iteration, loss)
        # a loss that is not a number is no improvement, whatever it is compared with
        waited = 0 if best.loss - loss > self.tol * abs(loss) else best.waited + 1
        if loss < best.loss:
            return Best(coef, objective, iteration, loss, waited)
        return replace(best, waited=waited)

    def stops(self, best: Best) -> bool:
        """Whether to stop here."""
        return best.waited >= self.patience
