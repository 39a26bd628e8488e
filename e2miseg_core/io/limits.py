"""The most that is believed of a file, whatever its header says."""

__all__ = ["DEFLATE_RATIO", "MOST_CHANNELS", "MOST_PIECES"]

MOST_CHANNELS = 1 << 16  # each has a name and a block of its own
MOST_PIECES = 1 << 20  # along an axis: each is a number in memory

# Bytes that one byte of gzip, zlib or PNG can hold: deflate codes at best 258 bytes in
# 2 bits, and then some for blocks and frames.
DEFLATE_RATIO = 1040
