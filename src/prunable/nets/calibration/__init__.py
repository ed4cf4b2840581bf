"""What flows into the layers of a network, from a few unlabelled inputs."""
