"""Solvers, one a file, and the loop `minimize` that they share."""

from sparkml_lsml.engine.solvers.accelerated import Accelerated
from sparkml_lsml.engine.solvers.adam import Adam
from sparkml_lsml.engine.solvers.base import Iteration, Reason, Solution, Solver
from sparkml_lsml.engine.solvers.cocoa import CoCoA
from sparkml_lsml.engine.solvers.gradient_descent import GradientDescent
from sparkml_lsml.engine.solvers.lbfgs import LBFGS
from sparkml_lsml.engine.solvers.lbfgsb import LBFGSB
from sparkml_lsml.engine.solvers.local_steps import LocalSteps
from sparkml_lsml.engine.solvers.loop import minimize
from sparkml_lsml.engine.solvers.minibatch_sgd import MiniBatchSGD
from sparkml_lsml.engine.solvers.normal import NormalEquations
from sparkml_lsml.engine.solvers.proximal_lbfgs import ProximalLBFGS
from sparkml_lsml.engine.solvers.sgd import LocalSGD
from sparkml_lsml.engine.solvers.smoothed_lbfgs import SmoothedLBFGS

__all__ = [
    "LBFGS",
    "LBFGSB",
    "Accelerated",
    "Adam",
    "CoCoA",
    "GradientDescent",
    "Iteration",
    "LocalSGD",
    "LocalSteps",
    "MiniBatchSGD",
    "NormalEquations",
    "ProximalLBFGS",
    "Reason",
    "SmoothedLBFGS",
    "Solution",
    "Solver",
    "minimize",
]
