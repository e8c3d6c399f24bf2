"""The flat coefficient vector: every number belongs to one part, and parts keep their order."""

from __future__ import annotations

import numpy as np
import pytest

from sparkml_lsml.engine.predictors.layout import Layout


@pytest.mark.parametrize("features", [0, 1, 4])
@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("constants", [0, 1, 2])
def test_parts_follow_one_another_and_fill_the_vector(
    features: int, outputs: int, fit_intercept: bool, constants: int
) -> None:
    layout = Layout(features, outputs, fit_intercept, constants)
    lengths = [features * outputs, outputs * fit_intercept, constants]
    assert layout.size == sum(lengths)
    vector = np.arange(layout.size)
    parts = [vector[part] for part in (layout.weights, layout.intercepts, layout.extras)]
    assert [len(part) for part in parts] == lengths
    np.testing.assert_array_equal(np.concatenate(parts), vector)


@pytest.mark.parametrize("constants", [0, 1])
def test_the_weight_matrix_shows_the_weights_output_after_output(constants: int) -> None:
    layout = Layout(features=3, outputs=2, fit_intercept=True, constants=constants)
    coef = np.arange(2.0 * layout.size).reshape(2, layout.size)
    matrix = layout.weight_matrix(coef)
    assert matrix.shape == (2, 2, 3)
    for model, output, feature in np.ndindex(2, 2, 3):
        assert matrix[model, output, feature] == coef[model, 3 * output + feature]
    assert np.shares_memory(matrix, coef)


def test_layouts_compare_by_value() -> None:
    assert Layout(3, 2, True, 1) == Layout(3, 2, True, 1)
    assert len({Layout(3), Layout(3), Layout(4), Layout(3, fit_intercept=False)}) == 3
