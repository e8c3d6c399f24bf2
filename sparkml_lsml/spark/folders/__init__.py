"""Folders on file systems: saved models, checkpoints, fingerprints."""
