"""Reports of a sweep: pages of numbers and plots. Each is one HTML file that loads no other file.

`numbers` counts; `markup`, `charts` and `page` draw; `pages` combines the two. A page is made from one snapshot, like
the output of the command line, and is never read back.
"""
