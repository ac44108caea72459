"""Defenses over all settings of a run: ranks, intervals, probabilities of improvement, worst cases."""
