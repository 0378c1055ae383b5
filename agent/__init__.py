"""Runs training jobs as transient Podman Quadlet units and serves their state and logs over mutual TLS."""

__version__ = "0.1.0"
