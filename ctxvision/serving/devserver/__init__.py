"""The embedded server for development: TensorFlow Serving's gRPC and REST APIs, and a page."""
