"""Schedules: the training loop, evaluation, and what they need to start. No maths."""
