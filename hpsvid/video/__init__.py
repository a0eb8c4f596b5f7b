"""A file in, frames with times out; and pictures with times back into a file.

`probe` says what a file holds, `reader` decodes it in chunks, `cuts` finds where a shot ends,
`egomotion`, `flow` and `lines` follow the background,
`writer` writes videos and pictures, with the audio of the clip.
"""
