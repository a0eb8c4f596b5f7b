"""A clip in, a Motion out: the one place that strings the stages together.

`make` has the order of the stages and the overlay, `stages` the stages, the clock and the context
that they share, `summary` the facts about a finished run.
"""
