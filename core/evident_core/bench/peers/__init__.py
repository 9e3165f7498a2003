"""The engines that ours is measured beside; each imports its library only when it is asked to load or convert."""
