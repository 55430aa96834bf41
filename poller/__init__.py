"""What power_consumption.py is made of: the loop, the check, the demo."""
