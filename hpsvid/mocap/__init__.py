"""Captured motion, and how evidence of it errs."""
