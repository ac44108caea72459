"""clipfed-bench: backdoor attacks and defenses in federated learning on one shared simulator."""

__version__ = "0.1.0"
