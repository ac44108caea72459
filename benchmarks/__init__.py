"""How fast the simulator is on the machine at hand, next to what the machine can do and what others would write."""
