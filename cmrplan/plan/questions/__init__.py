"""Questions that one plan does not answer, one a file."""
