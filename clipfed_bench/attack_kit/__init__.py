"""What attacks of two kinds are made of: a trigger borrowed from another attack, layers put in place of one's own."""
