"""The figures of this project, one module each, named after its experiment."""
