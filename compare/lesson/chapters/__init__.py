"""What each chapter of the page shows."""
