"""Clothed, textured people on the free body, rendered with exact truth.

    python -m tools.people.sheet --out sheet.png
    python -m tools.people.pairs --mocap DIR --out DIR --shards N --seed S

Makes training pairs for the landmark lifter: what the landmark network says of rendered people
beside what is true of them. Nothing made here is committed; see this folder's README.md.
"""
