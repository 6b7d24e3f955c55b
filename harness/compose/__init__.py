"""The platform and its bench in containers: what `docker-compose.yml` runs, and `up --compose`."""
