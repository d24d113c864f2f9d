"""Python imports this module when it starts, so the guard is up in every kernel and program of the tests."""

import network_guard  # noqa: F401  (importing it puts it up)
