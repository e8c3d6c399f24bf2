"""The section of a configuration that says which Params a search tries."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from sparkml_lsml.jobs.base import Section, Text, fault, finite, plain

Values = Annotated[tuple[Annotated[Any, AfterValidator(plain)], ...], Field(strict=False)]
_Ends = Annotated[
    tuple[Annotated[float, AfterValidator(finite)], Annotated[float, AfterValidator(finite)]],
    Field(strict=False),
]


class Distribution(Section):
    """Where values of a Param are drawn from: one of three."""

    uniform: _Ends | None = Field(
        default=None, description="Lowest and highest number, all between as likely."
    )
    loguniform: _Ends | None = Field(
        default=None,
        description="Lowest and highest number, above 0, all orders of magnitude as likely.",
    )
    choice: Values | None = Field(default=None, min_length=1, description="Values, each as likely.")

    @model_validator(mode="after")
    def _check_consistency(self) -> Distribution:
        given = [name for name in Distribution.model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise fault(
                f"expected one of uniform, loguniform and choice, found {' and '.join(given)}"
                if given
                else "expected one of uniform, loguniform and choice"
            )
        for name in ("uniform", "loguniform"):
            ends = getattr(self, name)
            if ends is not None and ends[0] >= ends[1]:
                raise fault(f"expected a lower and a higher number, found {[*ends]}", name)
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise fault(f"expected numbers above 0, found {[*self.loguniform]}", "loguniform")
        return self


class RandomSearch(Section):
    """Values that are drawn at random."""

    iterations: int = Field(gt=0, le=10_000, description="Number of candidates to draw.")
    params: Annotated[dict[Text, Distribution], Field(min_length=1)] = Field(
        description="Where the values of each Param of the estimator are drawn from."
    )


class SearchConfig(Section):
    """What is tried, and how it is measured."""

    grid: dict[Text, Annotated[Values, Field(min_length=1)]] | None = Field(
        default=None,
        min_length=1,
        description="Values of each Param of the estimator; all combinations are tried.",
    )
    random: RandomSearch | None = Field(
        default=None, description="Values drawn at random, instead of grid."
    )
    metric: Text = Field(
        description="What chooses the best: areaUnderROC or areaUnderPR for two classes; accuracy, "
        "f1, weightedPrecision, weightedRecall, weightedFMeasure, hammingLoss or logLoss for any; "
        "rmse, mse, mae or r2 for a regression."
    )
    folds: int = Field(default=3, ge=2, description="Folds of the cross-validation.")
    group: Text | None = Field(
        default=None,
        description="Column whose values are held out one after the other, instead of folds.",
    )
    train_ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="Share of rows to train on in a single split, instead of folds.",
    )
    seed: int = Field(default=0, ge=0, description="Another seed: other folds, other draws.")

    @model_validator(mode="after")
    def _check_consistency(self) -> SearchConfig:
        if (self.grid is None) == (self.random is None):
            raise fault("expected either grid or random")
        ways = [key for key in ("folds", "group", "train_ratio") if key in self.model_fields_set]
        if len(ways) > 1:
            raise fault(f"give either this key or {ways[0]}, not both", ways[1])
        return self
