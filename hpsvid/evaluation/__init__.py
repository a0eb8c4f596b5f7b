"""Measure motions: metrics, truth, errors, tables, pages."""
