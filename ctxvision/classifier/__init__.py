"""Classifiers of one taxonomy over a context: visual encoder, head, calibration, concepts."""
