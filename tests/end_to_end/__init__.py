"""Deliveries as they are: the real gcloud, a real application, and a Google of our own."""
