"""A verdict for every reader: terminal, page, test runner, grader."""
