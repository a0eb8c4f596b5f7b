"""What people look like: each one's pictures over a clip, unwrapped into one texture.

`choose` picks frames that show a person well and from many sides, `looks` cuts the person out of
them, `blend` finds each texel's colour in them, `holes` fills what no frame shows, `make` strings
them together, `files` keeps textures beside a result.
"""
