"""The embedded server: TensorFlow Serving's gRPC and REST, and a page, for development."""
