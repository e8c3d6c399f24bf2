"""Solvers, one a file, and the loop `minimize` that they share."""

from sparkml_lsml.solvers.accelerated import Accelerated
from sparkml_lsml.solvers.adam import Adam
from sparkml_lsml.solvers.base import Iteration, Reason, Solution, Solver
from sparkml_lsml.solvers.cocoa import CoCoA
from sparkml_lsml.solvers.gradient_descent import GradientDescent
from sparkml_lsml.solvers.lbfgs import LBFGS
from sparkml_lsml.solvers.lbfgsb import LBFGSB
from sparkml_lsml.solvers.loop import minimize
from sparkml_lsml.solvers.minibatch_sgd import MiniBatchSGD
from sparkml_lsml.solvers.normal import NormalEquations
from sparkml_lsml.solvers.proximal_lbfgs import ProximalLBFGS
from sparkml_lsml.solvers.sgd import LocalSGD
from sparkml_lsml.solvers.smoothed_lbfgs import SmoothedLBFGS

__all__ = [
    "LBFGS",
    "LBFGSB",
    "Accelerated",
    "Adam",
    "CoCoA",
    "GradientDescent",
    "Iteration",
    "LocalSGD",
    "MiniBatchSGD",
    "NormalEquations",
    "ProximalLBFGS",
    "Reason",
    "SmoothedLBFGS",
    "Solution",
    "Solver",
    "minimize",
]
