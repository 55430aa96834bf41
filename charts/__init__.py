"""What the graph scripts share: the period asked for, fonts and style."""
