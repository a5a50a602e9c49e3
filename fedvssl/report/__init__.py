"""Figures and tables, from the files that the tools write."""
