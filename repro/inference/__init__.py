"""From weights and photographs to label maps."""
