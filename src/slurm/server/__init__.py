"""The server: jobs and sweeps over HTTP, and a page that shows them. It is a client of the library and has no state."""
