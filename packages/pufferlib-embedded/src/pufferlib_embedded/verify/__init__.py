"""Certified bounds of what an MLP policy does over boxes of observations.

What the numbers hold for, and why, stands in `rounding`. Importing this package loads nothing but this file.
"""
