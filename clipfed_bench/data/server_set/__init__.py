"""The images that the server owns: generated, held out, or drawn from fonts."""
