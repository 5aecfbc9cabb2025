"""What is deployed: one construct per capability."""
