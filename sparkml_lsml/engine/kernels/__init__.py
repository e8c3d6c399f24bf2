"""What runs over one block: value and gradient, epochs of SGD, normal equations."""

from sparkml_lsml.engine.kernels.gram import gram
from sparkml_lsml.engine.kernels.hessian import hessian
from sparkml_lsml.engine.kernels.sgd import SgdEpochs, sgd_epochs
from sparkml_lsml.engine.kernels.value_gradient import value_and_gradient

__all__ = ["SgdEpochs", "gram", "hessian", "sgd_epochs", "value_and_gradient"]
