"""Fetch and convert the shipped networks; the manifest of weights."""
