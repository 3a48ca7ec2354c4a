"""Data sets: which bytes they are, where they come from, and their arrays. Light, no tinygrad.

catalog        what is known of each set: files, SHA-256, shape, licence, sources
fetch          bring the raw files into the cache, from the first source that has them
local_search, download, npm_package    the sources
store          the cache itself: admit verified bytes, report its state
load           verified bytes from the cache, decoded by:
images, text   what the arrays hold
"""
