"""Does the suite notice when the code is wrong? Random single edits, each run against the tests that reach it."""
