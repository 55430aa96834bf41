"""What the graph scripts share: the period, fonts and style."""
