"""Rendered people: samples, golden pictures and training pairs."""
