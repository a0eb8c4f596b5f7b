"""How each shipped asset and each figure of docs/measurements.md is made; not installed."""
