"""An append-only record log on disk: checksummed, segmented, with group commit.

`segments` is the format, `store` the files, `logbook` the asyncio front with its committing thread,
`reading` what a reader in this or another process sees.
"""
