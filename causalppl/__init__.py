"""Causal modelling by probabilistic programming, on Pyro."""

__version__ = "0.1.0"
