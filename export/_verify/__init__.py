"""What verify.py is made of."""
