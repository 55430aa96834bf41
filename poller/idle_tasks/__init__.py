"""What is done between two polls: the scheduler, and each task in a file of its own."""
