"""Shared core of Evident: evidence, errors, settings, constrained writing and the web frame of every service."""

__version__ = "0.1.0"
