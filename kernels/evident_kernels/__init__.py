"""Numeric kernels that every layer above calls by name."""
