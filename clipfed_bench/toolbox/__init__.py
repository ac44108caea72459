"""What attacks, defenses and the simulator are made of: distances, clustering, transforms, images, random streams."""
