"""Images: decoding, resizing, changing at random."""
