"""Penalties, one a file: value, gradient of the smooth part, proximal step of the L1 part."""

from sparkml_lsml.engine.penalties.base import Penalty
from sparkml_lsml.engine.penalties.elastic_net import ElasticNet
from sparkml_lsml.engine.penalties.l1 import L1
from sparkml_lsml.engine.penalties.l2 import L2

__all__ = ["L1", "L2", "ElasticNet", "Penalty"]
