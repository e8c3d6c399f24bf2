"""Networks of PyTorch by name: those of the package, and those that users register.

Nothing here imports torch before a network is built; it comes with the extra
``sparkml_lsml[torch]``.
"""

from sparkml_lsml.networks.registry import register, registered, unregister

__all__ = ["register", "registered", "unregister"]
