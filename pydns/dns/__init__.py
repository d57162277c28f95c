"""The DNS itself: names, messages, RRsets and compiled answers. Pure: bytes and values in, bytes and values out."""
