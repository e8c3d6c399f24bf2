"""What ``python -m sparkml_lsml`` can do; needs the extra ``sparkml_lsml[jobs]``.

``doctor`` looks at an environment, ``validate`` at the configuration of a job, ``show`` at a saved
model. Nothing else in the package imports this room.
"""
