"""A write-ahead log on disk: checksummed, segmented, with group commit.

`segment` is the format, `log` the files, `group_commit` the asyncio front with its committing thread, `reader` what a
reader in this or another process sees.
"""
