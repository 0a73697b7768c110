"""AWS infrastructure of Tidemark. The folder becomes the package `cdk` by path (see assembly.py), never through sys.path."""
