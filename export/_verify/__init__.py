"""Parts of verify.py."""
