"""Reports of a sweep: pages of numbers and plots, each one HTML file that needs nothing else.

`numbers` counts, `markup`, `charts` and `page` draw, `pages` puts both together. A page is made of one snapshot, as
what the command line shows is, and is never read back.
"""
