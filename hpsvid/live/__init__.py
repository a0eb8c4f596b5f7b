"""People in front of a running camera: the newest frame only, and no look into the future.

`capture` keeps the newest frame alone, so a slow machine shows fewer frames and never older ones;
`look` runs the networks on it, `pose` solves what they saw, `watch` lets the three run side by
side, `screen` and `page` show the outcome.
"""
