"""The course as a static site: its saved notebooks, documents and reference as pages that need no server."""
