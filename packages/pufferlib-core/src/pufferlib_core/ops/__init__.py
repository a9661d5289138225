"""Formulas, written once over an array namespace `xp`; run with numpy they are the oracle of every back end."""
