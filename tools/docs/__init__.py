"""The documentation site's pictures, and how they come into it."""
