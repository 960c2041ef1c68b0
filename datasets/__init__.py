"""Where clips come from: robot video on disk, action slots, splits and frozen manifests."""
