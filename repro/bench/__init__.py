"""Measurements beside other programs, ratios within one run."""
