"""Figures of the engine beside its peers, all measured in one run."""
