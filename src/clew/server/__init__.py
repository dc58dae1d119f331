"""The HTTP server: it composes the dialects and serves Clew's own API beside them."""
