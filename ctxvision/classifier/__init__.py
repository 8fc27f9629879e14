"""A classifier of one taxonomy that uses a context: visual encoder, head, calibration, concepts."""
