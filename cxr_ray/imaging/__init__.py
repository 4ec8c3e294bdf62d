"""From the bytes of image files to pixels and masks: decoding, resizing, run lengths and outlines."""
