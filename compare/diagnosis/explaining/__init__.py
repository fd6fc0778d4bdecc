"""What they did: its name, its form, and the smallest input that shows it."""
