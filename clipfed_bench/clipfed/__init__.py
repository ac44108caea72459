"""CLIP-Fed, the paper's defense (arXiv 2508.10315 v2, section 4), one module a step of its Algorithm 1."""
