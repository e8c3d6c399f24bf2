"""The matrix that L-BFGS stands for, in a form whose products and inverses are cheap."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import linalg

from sparkml_lsml.engine.solvers.base import Array
from sparkml_lsml.engine.solvers.lbfgs import Pair


@dataclass(frozen=True, eq=False)
class CompactMatrix:
    r"""The compact form :math:`B = \sigma I - \Psi^T N^{-1} \Psi` of an L-BFGS matrix.

    The rows of :math:`\Psi` are :math:`\sigma s_i` and :math:`y_i`, for steps s and changes y of
    the gradient. A product takes 2 x memory x size multiplications, an inverse on a subspace memory
    times that.

    Attributes
    ----------
    size : float
        :math:`\sigma`: the curvature where the pairs say nothing.
    basis : array of shape (2 pairs, size)
        :math:`\Psi`.
    middle, inverse : arrays of shape (2 pairs, 2 pairs)
        N and its inverse.

    References
    ----------
    Byrd, Nocedal and Schnabel (1994), Representations of quasi-Newton matrices and their use in
    limited memory methods, theorem 2.3.

    Examples
    --------
    >>> import numpy as np
    >>> step, change = np.array([1.0, 0.0]), np.array([3.0, 0.0])
    >>> matrix = CompactMatrix.of(((step, change, 3.0),))
    >>> matrix.times(np.array([1.0, 2.0])).round(6).tolist()
    [3.0, 6.0]
    """

    size: float
    basis: Array
    middle: Array
    inverse: Array

    @staticmethod
    def of(pairs: tuple[Pair, ...]) -> "CompactMatrix":
        """The matrix of at least one pair."""
        # a pair may be multiplied by any number; so the last, short steps weigh as much as the
        # first, and are not lost in the rounding of the inverse
        scale = np.array([1.0 / np.sqrt(product) for _, _, product in pairs])[:, None]
        steps = np.array([step for step, _, _ in pairs]) * scale
        changes = np.array([change for _, change, _ in pairs]) * scale
        size = float(changes[-1] @ changes[-1])
        lower = np.tril(steps @ changes.T, -1)
        middle = np.block([[size * steps @ steps.T, lower], [lower.T, -np.eye(len(pairs))]])
        return CompactMatrix(size, np.vstack([size * steps, changes]), middle, _inverse(middle))

    @staticmethod
    def multiple(size: float, length: int) -> "CompactMatrix":
        """A multiple of the identity."""
        none = np.zeros((0, 0))
        return CompactMatrix(size, np.zeros((0, length)), none, none)

    def times(self, vector: Array) -> Array:
        """The product with a vector."""
        result: Array = self.size * vector - self.basis.T @ (self.inverse @ (self.basis @ vector))
        return result

    def solve(self, right: Array, free: npt.NDArray[np.bool_]) -> Array:
        """The solution on the free coordinates, all others held: shape (number of them,).

        Parameters
        ----------
        right : array of shape (number of free coordinates,)
        free : array of bool, shape (size,)
        """
        basis = self.basis[:, free]
        # the formula of Sherman, Morrison and Woodbury
        inverse = _inverse(self.middle - basis @ basis.T / self.size)
        result: Array = (right + basis.T @ (inverse @ (basis @ right)) / self.size) / self.size
        return result


def _inverse(matrix: Array) -> Array:
    """The inverse of an indefinite matrix that may be singular to working precision."""
    if not len(matrix):
        return matrix
    return np.asarray(linalg.pinvh(matrix), dtype=np.float64)
