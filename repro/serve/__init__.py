"""`repro serve`: a page of this machine that labels the photographs dropped on it."""
