"""What a cell is and how a grid becomes cells: the settings that affect a number, their keys and their files."""
