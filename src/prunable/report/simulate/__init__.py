"""Figures and tables of simulations."""
