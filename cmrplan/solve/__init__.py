"""Arrays in, arrays out: variable projection, least squares with signs, many starts, profiles."""
