"""The tables of docs/measurements.md, each from one command."""
