"""The material of single notebooks: twelve applications and the rival architectures."""
