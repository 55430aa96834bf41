"""A simulated Wi-SUN module, the meter behind it and its household. Does no I/O but in its pseudo-terminal."""
