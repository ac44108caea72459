"""The teacher: CLIP or a small dual encoder of one's own, frozen, with cached features."""
