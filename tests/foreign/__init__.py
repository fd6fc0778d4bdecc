"""Code as other people write it, right and wrong: nothing here knows of `scratch`, and nothing is adapted."""
