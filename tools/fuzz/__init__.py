"""Damaged and crafted files for every reader: `python -m tools.fuzz --cases 1000`.

Only HpsvidError may come out of a reader, within 20 s and 3 GB.
"""
