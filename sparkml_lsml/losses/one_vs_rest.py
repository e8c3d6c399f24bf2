"""A binary loss for models that each tell one class from all others."""

from dataclasses import dataclass

import numpy as np

from sparkml_lsml.losses.base import Array, Loss


@dataclass(frozen=True)
class OneVsRestLoss:
    r"""The loss of a margin, with a class of its own for each model.

    For model m, which tells the class :math:`k_m` from the rest, the margin of a row is
    :math:`s f` with s = 1 for a label y = :math:`k_m` and s = -1 otherwise. So the loss is that of
    label 1 at :math:`s f`, and its derivative in f is s times that one's.

    Parameters
    ----------
    binary : Loss
        Of labels 0 and 1, a function of :math:`(2 y - 1) f`; with one output and no constants.
    classes : tuple of int, one a model

    References
    ----------
    Rifkin and Klautau (2004), In defense of one-vs-all classification, JMLR 5.

    Examples
    --------
    >>> import numpy as np
    >>> from sparkml_lsml.losses import Hinge
    >>> loss = OneVsRestLoss(Hinge(), classes=(2, 0))
    >>> value, derivative = loss.value_and_derivative(np.array([2.0]), np.full((1, 2, 1), 0.25))
    >>> value.tolist(), derivative[0, :, 0].tolist()
    ([[0.75, 1.25]], [-1.0, 1.0])
    """

    binary: Loss
    classes: tuple[int, ...]
    constants: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """See :class:`~sparkml_lsml.losses.base.Loss`."""
        return self.binary.name

    @property
    def smooth(self) -> bool:
        """See :class:`~sparkml_lsml.losses.base.Loss`."""
        return self.binary.smooth

    @property
    def curvature(self) -> float:
        """See :class:`~sparkml_lsml.losses.base.Loss`."""
        return self.binary.curvature

    def signs(self, y: Array) -> Array:
        """1 where a label is the class of a model, otherwise -1; shape (rows, models)."""
        return np.where(np.equal(y[:, None], self.classes), 1.0, -1.0)

    def value_and_derivative(self, y: Array, raw: Array) -> tuple[Array, Array]:
        """Value and derivative; shapes as in :class:`~sparkml_lsml.losses.base.Loss`."""
        signs = self.signs(y)[:, :, None]
        value, derivative = self.binary.value_and_derivative(np.ones_like(y), signs * raw)
        return value, signs * derivative
