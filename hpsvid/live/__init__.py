"""People before a running camera, now: only the newest frame, and of time only what is past.

`capture` keeps the newest frame alone, so a slow machine shows fewer frames and never older ones;
`look` runs the networks on it, `pose` solves what they saw, `watch` lets the three run side by
side, `screen` and `page` show the outcome.
"""
