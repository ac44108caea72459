"""The simulator: local training of many clients from one flat global vector, rounds, cells."""
