"""Looking for faults in a dataset: every file of it, and beyond the first fault."""
