"""What a model carries from piece to piece of `partialFit`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sparkml_lsml.engine.blocks.moments import Moments

Array = npt.NDArray[np.float64]

SORTED_SHARE = 0.05
"""Share of the labels' variance between pieces, beyond chance, from which they count as sorted."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """What a model carries from piece to piece, beside its coefficients.

    Attributes
    ----------
    features : Moments
        Of all rows so far.
    label : Moments or None
        Of the labels of a regression.
    iterate : array of shape (layout.size,)
        Where SGD stands, for the features as they are; the model's coefficients are an average.
    number : int
        Pieces so far.
    epochs, batches : float
        Epochs over a piece so far, and mini-batches of a partition.
    rate : float
        What is left of ``stepSize`` in the schedule "adaptive".
    spread : array or None
        The spread of the labels within their pieces, summed over the pieces, and behind it the
        weight of each class; None for a model of a version that did not keep it.
    """

    features: Moments
    label: Moments | None
    iterate: Array
    number: int = 0
    epochs: float = 0.0
    batches: float = 0.0
    rate: float = 1.0
    spread: Array | None = None

    @property
    def share(self) -> float:
        """Share of the labels' variance, of classes Gini's, that lies between the pieces."""
        if self.spread is None:
            return 0.0
        within, counts = float(self.spread[0]), self.spread[1:]
        if self.label is None:
            total = gini(counts)
        else:
            total = self.label.weight * float(self.label.variance(sample=False)[0])
        return 1.0 - within / total if total > 0.0 else 0.0

    @property
    def chance(self) -> float:
        """What `share` rarely exceeds where the rows come in random order."""
        seen, others = self.features, self.number - 1
        rows = seen.weight**2 / seen.weight_squares  # of one weight, that say as much (Kish)
        # (rows - 1) share is about chi-squared with a degree of freedom for each piece but one
        return (others + 4.0 * np.sqrt(2.0 * others)) / max(rows - 1.0, 1.0)

    @property
    def sorted(self) -> bool:
        """Whether the pieces differ so much in their labels that rows must be sorted by them."""
        return self.share > SORTED_SHARE + self.chance

    def arrays(self) -> dict[str, Array]:
        """As arrays, for a saved model."""
        seen = self.features
        counts = [seen.weight, seen.weight_squares, seen.rows]
        counts += [self.number, self.epochs, self.batches, self.rate]
        found = {
            "pieceCounts": np.array(counts, dtype=np.float64),
            "pieceFeatures": _plain(seen),
            "pieceIterate": self.iterate,
        }
        if self.spread is not None:
            found["pieceSpread"] = self.spread
        return found if self.label is None else {**found, "pieceLabel": _plain(self.label)}

    @staticmethod
    def of_arrays(arrays: dict[str, Array], features: int, size: int) -> "Pieces | None":
        """From arrays; None if they are of a model without.

        Parameters
        ----------
        arrays : dict
        features : int
            Features of the model.
        size : int
            Its coefficients, at least.

        Raises
        ------
        ValueError
            If arrays are of other shapes, or hold numbers that cannot be.
        """
        if "pieceCounts" not in arrays:
            return None
        weight, squares, rows, number, epochs, batches, rate = arrays["pieceCounts"].tolist()
        seen, label = arrays["pieceFeatures"], arrays.get("pieceLabel")
        parts = [arrays["pieceCounts"], seen, arrays["pieceIterate"]]
        parts += [] if label is None else [label]
        spread = arrays.get("pieceSpread")
        if spread is not None:
            parts.append(spread)
        good = spread is None or (spread.ndim == 1 and (len(spread) == 1) == (label is not None))
        good = good and (spread is None or bool((spread >= 0.0).all()))
        good = good and seen.shape == (3, features) and (label is None or label.shape == (3, 1))
        good = good and arrays["pieceIterate"].shape[0] >= size
        good = good and all(np.isfinite(part).all() for part in parts)
        if not good or min(weight, rows, number, epochs, batches, rate) < 0.0:
            raise ValueError("what partialFit goes on from is damaged")

        def moments(plain: Array) -> Moments:
            return Moments(weight, squares, int(rows), plain.shape[1], None, *plain)

        return Pieces(
            moments(seen),
            None if label is None else moments(label),
            arrays["pieceIterate"],
            int(number),
            epochs,
            batches,
            rate,
            spread,
        )


def gini(counts: Array) -> float:
    """The weight of rows times the chance that two of them are of different classes."""
    weight = float(counts.sum())
    return weight - float(counts @ counts) / weight if weight > 0.0 else 0.0


def _plain(moments: Moments) -> Array:
    full = moments.dense()
    return np.stack([full.stored, full.stored_mean, full.stored_m2])
