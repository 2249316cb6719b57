"""The public names of greenprobe, handed out when first asked for (PEP 562)."""

__version__ = "0.1.0.dev0"
