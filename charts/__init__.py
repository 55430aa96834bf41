"""The pictures: from the command line and the period over what is loaded to what is drawn, its words and its style."""
