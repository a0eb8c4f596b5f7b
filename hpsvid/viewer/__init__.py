"""A motion as one HTML page that needs no network: video and bodies side by side."""
